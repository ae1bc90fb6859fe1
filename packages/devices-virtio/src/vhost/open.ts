import { BatonError, dupFd, type Fd, ioctl, O_CLOEXEC, O_RDWR, open } from "@baton/linux";
import { VHOST_GET_FEATURES } from "../abi/vhost.js";

const VHOST_NET = "/dev/vhost-net";

/** Opens vhost-net for one pair of queues. Throws `VHOST_UNAVAILABLE`. */
export function openVhost(id: string): Fd {
  try {
    return open(VHOST_NET, O_RDWR | O_CLOEXEC);
  } catch (error) {
    const { message, errnoName } = BatonError.from(error, "VHOST_UNAVAILABLE");
    const denied = errnoName === "EACCES" || errnoName === "EPERM";
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: vhost-net cannot be used: ${message}`, {
      cause: error,
      hint: denied
        ? `Let this user read and write ${VHOST_NET}, pass descriptors, or do without vhost`
        : "Load the module vhost_net (modprobe vhost_net), or do without vhost",
    });
  }
}

/** A duplicate of a vhost-net that somebody else opened. Throws `VHOST_UNAVAILABLE`. */
export function takeVhost(id: string, raw: number): Fd {
  try {
    return dupFd(raw, `vhost-net:${id}`);
  } catch (error) {
    const { message } = BatonError.from(error, "VHOST_UNAVAILABLE");
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: ${message}`, { cause: error });
  }
}

/** The features that the kernel's vhost-net supports. Throws `VHOST_UNAVAILABLE`. */
export function vhostFeatures(id: string, fd: Fd): bigint {
  const bits = new BigUint64Array(1);
  try {
    ioctl(fd, VHOST_GET_FEATURES, new Uint8Array(bits.buffer), "VHOST_GET_FEATURES");
  } catch (error) {
    const { message } = BatonError.from(error, "VHOST_UNAVAILABLE");
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: the descriptor for vhost is none of ${VHOST_NET}: ${message}`, {
      cause: error,
    });
  }
  return bits[0] as bigint;
}
