import { iovec } from "./abi/file.js";
import { throwErrno } from "./errno.js";
import { BatonError } from "./errors.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { addressOf, lastErrno, libc, withPinned } from "./native.js";
import { anHva, anInt, aSize } from "./validate.js";

/** A piece of memory by address, in bytes: guest RAM, mostly. */
export interface MemoryPiece {
  readonly address: bigint;
  readonly length: number;
}

/** The pieces that a vectored call gathers from or scatters to, in order. */
export type Iovecs = readonly MemoryPiece[] | readonly Uint8Array[];

/** The most pieces that one call takes (IOV_MAX). */
export const IOV_MAX = 1024;

/**
 * The `struct iovec` array of some pieces, for the try* calls. With Uint8Arrays, the caller keeps them referenced until
 * the call is made. `into` is reused where it is large enough.
 */
export function packIovecs(pieces: Iovecs, into?: BigUint64Array): BigUint64Array {
  if (pieces.length > IOV_MAX) {
    throw new BatonError("INVALID_ARGUMENT", `${pieces.length} pieces of memory are more than ${IOV_MAX}`);
  }
  const words = iovec.size / 8;
  const packed = into && into.length >= pieces.length * words ? into : new BigUint64Array(pieces.length * words);
  let at = 0;
  for (const piece of pieces) {
    if (ArrayBuffer.isView(piece)) {
      packed[at++] = piece.byteLength === 0 ? 0n : addressOf(piece);
      packed[at++] = BigInt(piece.byteLength);
    } else {
      packed[at++] = anHva(piece.address, "address");
      packed[at++] = BigInt(anInt(piece.length, "length", 0));
    }
  }
  return packed;
}

type Vectored = (fd: number, iov: BigUint64Array, count: number) => number;
type VectoredAt = (fd: number, iov: BigUint64Array, count: number, offset: number | bigint) => number;
let callReadv: Vectored | undefined;
let callWritev: Vectored | undefined;
let callPreadv: VectoredAt | undefined;
let callPwritev: VectoredAt | undefined;

/** readv(2) for hot loops, with packed pieces: the bytes, or the negative error number. Nothing is checked. */
export function tryReadv(rawFd: number, iov: BigUint64Array, count: number): number {
  callReadv ??= libc<Vectored>("int64_t readv(int, void *, int)");
  const result = callReadv(rawFd, iov, count);
  return result < 0 ? -lastErrno() : result;
}

/** writev(2) for hot loops, with packed pieces: the bytes, or the negative error number. Nothing is checked. */
export function tryWritev(rawFd: number, iov: BigUint64Array, count: number): number {
  callWritev ??= libc<Vectored>("int64_t writev(int, void *, int)");
  const result = callWritev(rawFd, iov, count);
  return result < 0 ? -lastErrno() : result;
}

/** preadv(2) for hot loops, with packed pieces: the bytes, or the negative error number. Nothing is checked. */
export function tryPreadv(rawFd: number, iov: BigUint64Array, count: number, offset: number | bigint): number {
  callPreadv ??= libc<VectoredAt>("int64_t preadv(int, void *, int, int64_t)");
  const result = callPreadv(rawFd, iov, count, offset);
  return result < 0 ? -lastErrno() : result;
}

/** pwritev(2) for hot loops, with packed pieces: the bytes, or the negative error number. Nothing is checked. */
export function tryPwritev(rawFd: number, iov: BigUint64Array, count: number, offset: number | bigint): number {
  callPwritev ??= libc<VectoredAt>("int64_t pwritev(int, void *, int, int64_t)");
  const result = callPwritev(rawFd, iov, count, offset);
  return result < 0 ? -lastErrno() : result;
}

function run(fd: FdLike, pieces: Iovecs, syscall: string, call: (raw: number, iov: BigUint64Array) => number): number {
  const raw = rawFd(fd);
  const result = withPinned(pieces, () => call(raw, packIovecs(pieces)));
  if (result < 0) throwErrno(syscall, -result, { what: fdName(fd) });
  return result;
}

/** Reads into several pieces; returns how many bytes. At most {@link IOV_MAX} pieces. readv(2). */
export function readv(fd: FdLike, pieces: Iovecs): number {
  return run(fd, pieces, "readv", (raw, iov) => tryReadv(raw, iov, pieces.length));
}

/** Writes several pieces; returns how many bytes. writev(2). */
export function writev(fd: FdLike, pieces: Iovecs): number {
  return run(fd, pieces, "writev", (raw, iov) => tryWritev(raw, iov, pieces.length));
}

/** Reads at an offset into several pieces; returns how many bytes. preadv(2). */
export function preadv(fd: FdLike, pieces: Iovecs, offset: number | bigint): number {
  const at = aSize(offset, "offset");
  return run(fd, pieces, "preadv", (raw, iov) => tryPreadv(raw, iov, pieces.length, at));
}

/** Writes several pieces at an offset; returns how many bytes. pwritev(2). */
export function pwritev(fd: FdLike, pieces: Iovecs, offset: number | bigint): number {
  const at = aSize(offset, "offset");
  return run(fd, pieces, "pwritev", (raw, iov) => tryPwritev(raw, iov, pieces.length, at));
}
