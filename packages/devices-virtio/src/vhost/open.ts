import { BatonError, dupFd, type Fd, ioctl, O_CLOEXEC, O_RDWR, open } from "@baton/linux";
import { VHOST_GET_FEATURES } from "../abi/vhost.js";

/** A kind of device that the kernel's vhost can be. */
export interface VhostKind {
  /** `vhost-net`. */
  readonly name: string;
  /** Where it is opened: `/dev/vhost-net`. */
  readonly path: string;
  /** The module that brings it. */
  readonly module: string;
  /** What one may do where it cannot be had. */
  readonly instead: string;
}

/** Opens a vhost device for the device `id`. Throws `VHOST_UNAVAILABLE`. */
export function openVhost(id: string, { name, path, module, instead }: VhostKind): Fd {
  try {
    return open(path, O_RDWR | O_CLOEXEC);
  } catch (error) {
    const { message, errnoName } = BatonError.from(error, "VHOST_UNAVAILABLE");
    const denied = errnoName === "EACCES" || errnoName === "EPERM";
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: ${name} cannot be used: ${message}`, {
      cause: error,
      hint: denied
        ? `Let this user read and write ${path}, pass an open descriptor, or ${instead}`
        : `Load the module ${module} (modprobe ${module}), or ${instead}`,
    });
  }
}

/** A duplicate of a vhost device that somebody else opened. Throws `VHOST_UNAVAILABLE`. */
export function takeVhost(id: string, { name }: VhostKind, raw: number): Fd {
  try {
    return dupFd(raw, `${name}:${id}`);
  } catch (error) {
    const { message } = BatonError.from(error, "VHOST_UNAVAILABLE");
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: ${message}`, { cause: error });
  }
}

/** The features that the kernel's vhost supports. Throws `VHOST_UNAVAILABLE`. */
export function vhostFeatures(id: string, { path }: VhostKind, fd: Fd): bigint {
  const bits = new BigUint64Array(1);
  try {
    ioctl(fd, VHOST_GET_FEATURES, new Uint8Array(bits.buffer), "VHOST_GET_FEATURES");
  } catch (error) {
    const { message } = BatonError.from(error, "VHOST_UNAVAILABLE");
    throw new BatonError("VHOST_UNAVAILABLE", `${id}: the descriptor for vhost is none of ${path}: ${message}`, {
      cause: error,
    });
  }
  return bits[0] as bigint;
}
