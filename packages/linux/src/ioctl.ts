import { EINTR } from "./abi/errno.js";
import { throwErrno } from "./errno.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { type Bytes, lastErrno, libc } from "./native.js";
import { anInt, aU32, aU64, aView } from "./validate.js";

/** The third argument of ioctl(2): an integer, an address (bigint), or bytes that the kernel reads and writes. */
export type IoctlArg = number | bigint | Bytes;

type IoctlInt = (fd: number, request: number, arg: number | bigint) => number;
type IoctlPtr = (fd: number, request: number, arg: bigint | Bytes | null) => number;
let callInt: IoctlInt | undefined;
let callPtr: IoctlPtr | undefined;

/**
 * ioctl(2) with an integer argument, for hot loops: returns the result, or the negative error number. Nothing is
 * checked; `rawFd` is a number, `request` unsigned, `arg` a safe integer or a bigint below 2^63.
 */
export function tryIoctlInt(rawFd: number, request: number, arg: number | bigint): number {
  callInt ??= libc<IoctlInt>("int ioctl(int, unsigned long, int64_t)");
  const result = callInt(rawFd, request, arg);
  return result < 0 ? -lastErrno() : result;
}

/** ioctl(2) with a pointer argument, for hot loops: like {@link tryIoctlInt}; `arg` is bytes or an address. */
export function tryIoctlPtr(rawFd: number, request: number, arg: Bytes | bigint): number {
  callPtr ??= libc<IoctlPtr>("int ioctl(int, unsigned long, void *)");
  const result = callPtr(rawFd, request, arg);
  return result < 0 ? -lastErrno() : result;
}

/** ioctl(2) without checks: returns the result, or the negative error number. */
export function tryIoctl(rawFd: number, request: number, arg: IoctlArg): number {
  return typeof arg === "number" ? tryIoctlInt(rawFd, request, arg) : tryIoctlPtr(rawFd, request, arg);
}

/**
 * ioctl(2): the result, never negative. `what` names the request in messages, as in `KVM_CREATE_VM`.
 * A call that a signal interrupted is made again. Throws `SYSCALL_FAILED` with syscall `ioctl <what>`.
 */
export function ioctl(fd: FdLike, request: number, arg: IoctlArg | undefined, what: string): number {
  const raw = rawFd(fd);
  aU32(request, "request");
  for (;;) {
    const result = attempt(raw, request, arg);
    if (result >= 0) return result;
    if (result !== -EINTR)
      throwErrno(`ioctl ${what}`, -result, { what: typeof fd === "number" ? undefined : fdName(fd) });
  }
}

function attempt(raw: number, request: number, arg: IoctlArg | undefined): number {
  if (arg === undefined || typeof arg === "number") {
    return tryIoctlInt(raw, request, arg === undefined ? 0 : anInt(arg, "arg"));
  }
  if (typeof arg === "bigint") return tryIoctlInt(raw, request, BigInt.asIntN(64, aU64(arg, "arg")));
  return tryIoctlPtr(raw, request, aView(arg, "arg"));
}

function request(direction: number, type: number | string, nr: number, size: number): number {
  const letter = typeof type === "string" ? type.charCodeAt(0) : type;
  anInt(letter, "type", 0, 255);
  anInt(nr, "nr", 0, 255);
  anInt(size, "size", 0, 0x3fff);
  return ((direction << 30) | (size << 16) | (letter << 8) | nr) >>> 0;
}

/** `_IO(type, nr)` of <asm-generic/ioctl.h>: a request without argument. `type` is a byte or a letter. */
export function IO(type: number | string, nr: number): number {
  return request(0, type, nr, 0);
}

/** `_IOW(type, nr, size)`: the kernel reads `size` bytes. */
export function IOW(type: number | string, nr: number, size: number): number {
  return request(1, type, nr, size);
}

/** `_IOR(type, nr, size)`: the kernel writes `size` bytes. */
export function IOR(type: number | string, nr: number, size: number): number {
  return request(2, type, nr, size);
}

/** `_IOWR(type, nr, size)`: the kernel reads and writes `size` bytes. */
export function IOWR(type: number | string, nr: number, size: number): number {
  return request(3, type, nr, size);
}
