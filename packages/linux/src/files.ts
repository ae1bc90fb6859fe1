import { ENXIO } from "./abi/errno.js";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
  SYS_newfstatat,
  stat,
} from "./abi/file.js";
import { checked, throwErrno } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { anInt, aPath, aSize, aU32 } from "./validate.js";

/** Opens a file, always close-on-exec. `at` is the directory that a relative path starts from. openat(2). */
export function open(path: string, flags: number, mode = 0, options: { readonly at?: FdLike } = {}): Fd {
  const call = libc<(at: number, path: string, flags: number, mode: number) => number>(
    "int openat(int, const char *, int, unsigned int)",
  );
  const at = options.at === undefined ? AT_FDCWD : rawFd(options.at);
  const raw = call(at, aPath(path), aU32(flags, "flags") | O_CLOEXEC, anInt(mode, "mode", 0, 0o7777));
  return Fd.adopt(checked(raw, "open", path), path);
}

/** What {@link fstat} tells. Sizes in bytes; `blocks` of 512 bytes; times are left out. */
export interface FileStatus {
  readonly dev: bigint;
  readonly ino: bigint;
  /** `S_IFMT` type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: bigint;
  readonly size: bigint;
  readonly rdev: bigint;
  readonly blocks: bigint;
  /** When the content was last changed, in ns since 1970. */
  readonly mtimeNs: bigint;
  readonly blockSize: number;
}

/** The status of an open file. fstat(2). */
export function fstat(fd: FdLike): FileStatus {
  const bytes = new Uint8Array(stat.size);
  // fstat itself is a symbol of libc only since glibc 2.33.
  const call = libc<(nr: number, fd: number, path: string, out: Uint8Array, flags: number) => number>(
    "long syscall(long, int, const char *, void *, int)",
  );
  checked(call(SYS_newfstatat, rawFd(fd), "", bytes, AT_EMPTY_PATH), "fstat", fdName(fd));
  const data = new DataView(bytes.buffer);
  return {
    dev: data.getBigUint64(stat.st_dev, true),
    ino: data.getBigUint64(stat.st_ino, true),
    mode: data.getUint32(stat.st_mode, true),
    uid: data.getUint32(stat.st_uid, true),
    gid: data.getUint32(stat.st_gid, true),
    nlink: data.getBigUint64(stat.st_nlink, true),
    size: data.getBigInt64(stat.st_size, true),
    rdev: data.getBigUint64(stat.st_rdev, true),
    blocks: data.getBigInt64(stat.st_blocks, true),
    mtimeNs: data.getBigInt64(stat.st_mtim, true) * 1_000_000_000n + data.getBigInt64(stat.st_mtim + 8, true),
    blockSize: Number(data.getBigInt64(stat.st_blksize, true)),
  };
}

/** Sets the size of a file in bytes. ftruncate(2). */
export function ftruncate(fd: FdLike, size: bigint | number): void {
  const call = libc<(fd: number, size: bigint) => number>("int ftruncate(int, int64_t)");
  checked(call(rawFd(fd), aSize(size, "size")), "ftruncate", fdName(fd));
}

/** Allocates, punches or zeroes a range of a file, `FALLOC_FL_*`; mode 0 allocates. fallocate(2). */
export function fallocate(fd: FdLike, mode: number, offset: bigint | number, length: bigint | number): void {
  const call = libc<(fd: number, mode: number, offset: bigint, length: bigint) => number>(
    "int fallocate(int, int, int64_t, int64_t)",
  );
  const result = call(rawFd(fd), aU32(mode, "mode"), aSize(offset, "offset"), aSize(length, "length"));
  checked(result, "fallocate", fdName(fd));
}

type Lseek = (fd: number, offset: bigint, whence: number) => number | bigint;

function seek(fd: FdLike, offset: bigint, whence: number): bigint | null {
  const result = libc<Lseek>("int64_t lseek(int, int64_t, int)")(rawFd(fd), offset, whence);
  if (result >= 0) return BigInt(result);
  const errno = lastErrno();
  if (errno === ENXIO && (whence === SEEK_DATA || whence === SEEK_HOLE)) return null;
  throwErrno("lseek", errno, { what: fdName(fd) });
}

const WHENCE = { set: SEEK_SET, current: SEEK_CUR, end: SEEK_END } as const;

/** Moves the file offset, which duplicates and other processes share; returns the new one. lseek(2). */
export function lseek(fd: FdLike, offset: bigint | number, whence: "set" | "current" | "end" = "set"): bigint {
  const signed = typeof offset === "number" ? BigInt(anInt(offset, "offset")) : offset;
  return seek(fd, signed, WHENCE[whence]) as bigint;
}

/** The start of the first data at or after `offset`; null if there is none. Moves the file offset. lseek(2) SEEK_DATA. */
export function seekData(fd: FdLike, offset: bigint | number): bigint | null {
  return seek(fd, aSize(offset, "offset"), SEEK_DATA);
}

/** The start of the first hole at or after `offset` (the end of the file is one); null if `offset` is beyond the end. */
export function seekHole(fd: FdLike, offset: bigint | number): bigint | null {
  return seek(fd, aSize(offset, "offset"), SEEK_HOLE);
}

/** Writes a file's data and status to its device. fsync(2). */
export function fsync(fd: FdLike): void {
  checked(libc<(fd: number) => number>("int fsync(int)")(rawFd(fd)), "fsync", fdName(fd));
}

/** Writes a file's data to its device. fdatasync(2). */
export function fdatasync(fd: FdLike): void {
  checked(libc<(fd: number) => number>("int fdatasync(int)")(rawFd(fd)), "fdatasync", fdName(fd));
}

/** Removes a name. unlink(2). */
export function unlink(path: string): void {
  checked(libc<(path: string) => number>("int unlink(const char *)")(aPath(path)), "unlink", path);
}

/** Renames, replacing what has the new name. rename(2). */
export function rename(from: string, to: string): void {
  const call = libc<(from: string, to: string) => number>("int rename(const char *, const char *)");
  checked(call(aPath(from, "from"), aPath(to, "to")), "rename", `${from} to ${to}`);
}

/** Sets permission bits. chmod(2). */
export function chmod(path: string, mode: number): void {
  const call = libc<(path: string, mode: number) => number>("int chmod(const char *, unsigned int)");
  checked(call(aPath(path), anInt(mode, "mode", 0, 0o7777)), "chmod", path);
}

/** Makes a directory, with the permissions that the umask leaves of `mode`. mkdir(2). */
export function mkdir(path: string, mode = 0o777): void {
  const call = libc<(path: string, mode: number) => number>("int mkdir(const char *, unsigned int)");
  checked(call(aPath(path), anInt(mode, "mode", 0, 0o7777)), "mkdir", path);
}

type Copy = (out: number, inn: number, offset: BigInt64Array | null, length: bigint) => number;

/** Copies from a file's `offset` to a descriptor without passing user space; returns the bytes. sendfile(2). */
export function sendfile(to: FdLike, from: FdLike, offset: bigint | number, length: bigint | number): number {
  const call = libc<Copy>("int64_t sendfile(int, int, void *, size_t)");
  const at = BigInt64Array.of(aSize(offset, "offset"));
  return checked(call(rawFd(to), rawFd(from), at, aSize(length, "length")), "sendfile", fdName(to));
}

/** Copies between files (of one file system, on most kernels) at given offsets; returns the bytes. copy_file_range(2). */
export function copyFileRange(
  from: FdLike,
  fromOffset: bigint | number,
  to: FdLike,
  toOffset: bigint | number,
  length: bigint | number,
): number {
  const call = libc<(...args: unknown[]) => number>(
    "int64_t copy_file_range(int, void *, int, void *, size_t, unsigned int)",
  );
  const source = BigInt64Array.of(aSize(fromOffset, "fromOffset"));
  const target = BigInt64Array.of(aSize(toOffset, "toOffset"));
  const n = call(rawFd(from), source, rawFd(to), target, aSize(length, "length"), 0);
  return checked(n, "copy_file_range", `${fdName(from)} to ${fdName(to)}`);
}
