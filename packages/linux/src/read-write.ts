import { EINTR } from "./abi/errno.js";
import { throwErrno } from "./errno.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { aSize, aView } from "./validate.js";

type Transfer = (fd: number, bytes: Uint8Array, length: number) => number;
type TransferAt = (fd: number, bytes: Uint8Array, length: number, offset: number | bigint) => number;
let callRead: Transfer | undefined;
let callWrite: Transfer | undefined;
let callPread: TransferAt | undefined;
let callPwrite: TransferAt | undefined;

/** read(2) for hot loops: the bytes read (0 at the end), or the negative error number. Nothing is checked. */
export function tryRead(rawFd: number, bytes: Uint8Array): number {
  callRead ??= libc<Transfer>("int64_t read(int, void *, size_t)");
  const result = callRead(rawFd, bytes, bytes.byteLength);
  return result < 0 ? -lastErrno() : result;
}

/** write(2) for hot loops: the bytes written, or the negative error number. Nothing is checked. */
export function tryWrite(rawFd: number, bytes: Uint8Array): number {
  callWrite ??= libc<Transfer>("int64_t write(int, void *, size_t)");
  const result = callWrite(rawFd, bytes, bytes.byteLength);
  return result < 0 ? -lastErrno() : result;
}

/** pread(2) for hot loops: the bytes read, or the negative error number. Nothing is checked. */
export function tryPread(rawFd: number, bytes: Uint8Array, offset: number | bigint): number {
  callPread ??= libc<TransferAt>("int64_t pread(int, void *, size_t, int64_t)");
  const result = callPread(rawFd, bytes, bytes.byteLength, offset);
  return result < 0 ? -lastErrno() : result;
}

/** pwrite(2) for hot loops: the bytes written, or the negative error number. Nothing is checked. */
export function tryPwrite(rawFd: number, bytes: Uint8Array, offset: number | bigint): number {
  callPwrite ??= libc<TransferAt>("int64_t pwrite(int, void *, size_t, int64_t)");
  const result = callPwrite(rawFd, bytes, bytes.byteLength, offset);
  return result < 0 ? -lastErrno() : result;
}

function done(result: number, syscall: string, fd: FdLike): number {
  if (result < 0) throwErrno(syscall, -result, { what: fdName(fd) });
  return result;
}

/** Reads into `bytes`; returns how many, 0 at the end. read(2). */
export function read(fd: FdLike, bytes: Uint8Array): number {
  return done(tryRead(rawFd(fd), aView(bytes, "bytes")), "read", fd);
}

/** Writes from `bytes`; returns how many. write(2). */
export function write(fd: FdLike, bytes: Uint8Array): number {
  return done(tryWrite(rawFd(fd), aView(bytes, "bytes")), "write", fd);
}

/** Reads at an offset in bytes; returns how many, 0 at the end. pread(2). */
export function pread(fd: FdLike, bytes: Uint8Array, offset: number | bigint): number {
  return done(tryPread(rawFd(fd), aView(bytes, "bytes"), aSize(offset, "offset")), "pread", fd);
}

/** Writes at an offset in bytes; returns how many. pwrite(2). */
export function pwrite(fd: FdLike, bytes: Uint8Array, offset: number | bigint): number {
  return done(tryPwrite(rawFd(fd), aView(bytes, "bytes"), aSize(offset, "offset")), "pwrite", fd);
}

/** Writes all of `bytes` to a blocking descriptor, at `offset` where one is given. Throws `SYSCALL_FAILED`. */
export function writeAll(fd: FdLike, bytes: Uint8Array, offset?: number | bigint): void {
  let at = 0;
  while (at < bytes.byteLength) {
    const rest = at === 0 ? aView(bytes, "bytes") : bytes.subarray(at);
    const n =
      offset === undefined
        ? tryWrite(rawFd(fd), rest)
        : tryPwrite(rawFd(fd), rest, aSize(offset, "offset") + BigInt(at));
    if (n === -EINTR) continue;
    at += done(n, offset === undefined ? "write" : "pwrite", fd);
  }
}

/**
 * Reads until `bytes` is full or the file ends, at `offset` where one is given; returns how many bytes.
 * The descriptor is blocking.
 */
export function readAll(fd: FdLike, bytes: Uint8Array, offset?: number | bigint): number {
  let at = 0;
  while (at < bytes.byteLength) {
    const rest = at === 0 ? aView(bytes, "bytes") : bytes.subarray(at);
    const n =
      offset === undefined ? tryRead(rawFd(fd), rest) : tryPread(rawFd(fd), rest, aSize(offset, "offset") + BigInt(at));
    if (n === -EINTR) continue;
    if (n === 0) break;
    at += done(n, offset === undefined ? "read" : "pread", fd);
  }
  return at;
}
