import { BatonError, dupFd, type Fd, ioctl, O_CLOEXEC, O_NONBLOCK, O_RDWR, open, setNonblocking } from "@baton/linux";
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  IFNAMSIZ,
  ifreq,
  TUNGETIFF,
  TUNSETIFF,
} from "../abi/tun.js";

const TUN_DEVICE = "/dev/net/tun";

/** A tap's interface as the kernel knows it. */
export interface TapInterface {
  readonly name: string;
  /** `IFF_*`. */
  readonly flags: number;
}

/**
 * Opens one queue of a tap, which is made where there is none of this name; without a name the kernel chooses one.
 * Throws `TAP_OPEN` naming it.
 */
export function openTap(id: string, name: string | undefined, several: boolean): Fd {
  if (name !== undefined && (name === "" || Buffer.byteLength(name) >= IFNAMSIZ)) {
    throw new BatonError("TAP_OPEN", `${id}: '${name}' is no name of an interface: 1 to ${IFNAMSIZ - 1} bytes`);
  }
  let fd: Fd | undefined;
  try {
    fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    const request = new Uint8Array(ifreq.size);
    if (name !== undefined) request.set(Buffer.from(name), ifreq.ifr_name);
    const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0);
    new DataView(request.buffer).setUint16(ifreq.ifr_flags, flags, true);
    ioctl(fd, TUNSETIFF, request, "TUNSETIFF");
    return fd;
  } catch (error) {
    fd?.close();
    throw tapError(id, name, several, error);
  }
}

/** A duplicate of a queue of a tap that somebody else opened, made non-blocking. Throws `TAP_OPEN`. */
export function takeTap(id: string, raw: number): Fd {
  let fd: Fd;
  try {
    fd = dupFd(raw, `tap:${id}`);
    setNonblocking(fd, true);
  } catch (error) {
    throw new BatonError("TAP_OPEN", `${id}: ${BatonError.from(error, "TAP_OPEN").message}`, { cause: error });
  }
  const problem = tapProblem(fd);
  if (problem === null) return fd;
  fd.close();
  throw new BatonError("TAP_OPEN", `${id}: descriptor ${raw} ${problem}`, {
    hint: "Open /dev/net/tun and name it by TUNSETIFF with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR",
  });
}

function tapProblem(fd: Fd): string | null {
  let flags: number;
  try {
    ({ flags } = tapInterface(fd));
  } catch {
    return "is not a tap";
  }
  if ((flags & IFF_TAP) === 0) return "is a tun, not a tap";
  return (flags & IFF_VNET_HDR) === 0 ? "is a tap without virtio headers (IFF_VNET_HDR)" : null;
}

/** The interface behind a queue of a tap. Throws `SYSCALL_FAILED`. */
export function tapInterface(fd: Fd): TapInterface {
  const request = new Uint8Array(ifreq.size);
  ioctl(fd, TUNGETIFF, request, "TUNGETIFF");
  const name = Buffer.from(request.buffer, ifreq.ifr_name, IFNAMSIZ);
  return {
    name: name.toString("latin1", 0, Math.max(0, name.indexOf(0))),
    flags: new DataView(request.buffer).getUint16(ifreq.ifr_flags, true),
  };
}

function tapError(id: string, name: string | undefined, several: boolean, cause: unknown): BatonError {
  const { message, errnoName } = BatonError.from(cause, "TAP_OPEN");
  const shown = name ?? "NAME";
  const create = `ip tuntap add dev ${shown} mode tap user "$USER" vnet_hdr${several ? " multi_queue" : ""}`;
  const hints: Readonly<Record<string, string>> = {
    EPERM: `Without CAP_NET_ADMIN the interface has to be yours: as root, ${create}`,
    EACCES: `Let this user read and write ${TUN_DEVICE}, or pass descriptors`,
    ENOENT: "Load the module: modprobe tun",
    EBUSY: "Another process has it open: each virtual machine needs a tap of its own",
    EINVAL: `It is no tap, or made for ${several ? "one queue" : "several queues"}: delete it, or make it by ${create}`,
  };
  const hint = hints[errnoName ?? ""];
  return new BatonError("TAP_OPEN", `${id}: the tap ${name ?? "(named by the kernel)"} cannot be opened: ${message}`, {
    cause,
    ...(hint !== undefined && { hint }),
    details: { name },
  });
}
