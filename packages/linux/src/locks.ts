import { EACCES, EAGAIN } from "./abi/errno.js";
import { F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_UNLCK, F_WRLCK, flock, SEEK_SET } from "./abi/file.js";
import { checked, throwErrno } from "./errno.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { aSize } from "./validate.js";

const TYPES = { read: F_RDLCK, write: F_WRLCK, unlock: F_UNLCK } as const;

/** A range of a file to lock. */
export interface OfdLock {
  readonly type: "read" | "write" | "unlock";
  /** Bytes into the file, 0 unless given. */
  readonly start?: bigint | number;
  /** Bytes; 0, the default, reaches to the end however the file grows. */
  readonly length?: bigint | number;
  /** Blocks the thread until the lock is free; false unless given. */
  readonly wait?: boolean;
}

type Fcntl = (fd: number, command: number, lock: Uint8Array) => number;

function encode(lock: OfdLock): Uint8Array {
  const bytes = new Uint8Array(flock.size);
  const data = new DataView(bytes.buffer);
  data.setInt16(flock.l_type, TYPES[lock.type], true);
  data.setInt16(flock.l_whence, SEEK_SET, true);
  data.setBigInt64(flock.l_start, aSize(lock.start ?? 0, "start"), true);
  data.setBigInt64(flock.l_len, aSize(lock.length ?? 0, "length"), true);
  return bytes;
}

/**
 * Takes, changes or drops a lock that belongs to the open file, so that it lives until the last duplicate of the
 * descriptor is closed, in whatever process; an unlock drops it for all of them. False if another open file holds it.
 * fcntl(2) F_OFD_SETLK.
 */
export function setOfdLock(fd: FdLike, lock: OfdLock): boolean {
  const call = libc<Fcntl>("int fcntl(int, int, void *)");
  if (call(rawFd(fd), lock.wait ? F_OFD_SETLKW : F_OFD_SETLK, encode(lock)) === 0) return true;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EACCES) return false;
  throwErrno("fcntl F_OFD_SETLK", errno, { what: fdName(fd) });
}

/** A lock that stands in the way. `pid` is -1 when it belongs to an open file rather than to a process. */
export interface ConflictingLock {
  readonly type: "read" | "write";
  readonly start: bigint;
  readonly length: bigint;
  readonly pid: number;
}

/** The first lock of others that keeps `lock` from being taken; null if none does. fcntl(2) F_OFD_GETLK. */
export function getOfdLock(fd: FdLike, lock: OfdLock): ConflictingLock | null {
  const bytes = encode(lock);
  checked(libc<Fcntl>("int fcntl(int, int, void *)")(rawFd(fd), F_OFD_GETLK, bytes), "fcntl F_OFD_GETLK", fdName(fd));
  const data = new DataView(bytes.buffer);
  const type = data.getInt16(flock.l_type, true);
  if (type === F_UNLCK) return null;
  return {
    type: type === F_RDLCK ? "read" : "write",
    start: data.getBigInt64(flock.l_start, true),
    length: data.getBigInt64(flock.l_len, true),
    pid: data.getInt32(flock.l_pid, true),
  };
}
