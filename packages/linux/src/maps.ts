import { MAP_ANONYMOUS, MAP_FIXED, MS_SYNC } from "./abi/mman.js";
import { checked, throwErrno } from "./errno.js";
import { BatonError } from "./errors.js";
import { type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc, viewMemory } from "./native.js";
import { anHva, anInt, aSize, aU32 } from "./validate.js";

/** The longest view that {@link view} gives, in bytes: beyond it access slows down, and Node 20 aborts above 4 GiB. */
export const MAX_VIEW_LENGTH: number = 2 ** 30;

const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** What {@link mmap} maps. */
export interface MmapOptions {
  /** Bytes; not zero. */
  readonly length: bigint | number;
  /** `PROT_*`. */
  readonly prot: number;
  /** `MAP_*`. */
  readonly flags: number;
  /** The file; none with `MAP_ANONYMOUS`. */
  readonly fd?: FdLike;
  /** Bytes into the file. */
  readonly offset?: bigint | number;
  /** Where to map; a hint without `MAP_FIXED` or `MAP_FIXED_NOREPLACE`. */
  readonly address?: bigint;
}

/** Maps memory and returns its address. Throws `SYSCALL_FAILED`. mmap(2). */
export function mmap(options: MmapOptions): bigint {
  const { fd, address = 0n, offset = 0 } = options;
  const length = aSize(options.length, "length");
  const flags = aU32(options.flags, "flags");
  const anonymous = (flags & MAP_ANONYMOUS) !== 0;
  if (!anonymous && fd === undefined) throw new BatonError("INVALID_ARGUMENT", "mmap: fd is needed unless anonymous");
  if ((flags & MAP_FIXED) !== 0) anHva(address, "address");
  const call = libc<(...args: unknown[]) => bigint>("void *mmap(void *, size_t, int, int, int, int64_t)");
  const raw = fd === undefined ? -1 : rawFd(fd);
  const hva = call(
    address === 0n ? null : anHva(address, "address"),
    length,
    anInt(options.prot, "prot", 0, 0xff),
    flags,
    raw,
    aSize(offset, "offset"),
  );
  if (hva === MAP_FAILED) {
    throwErrno("mmap", lastErrno(), {
      what: fd === undefined ? "anonymous memory" : fdName(fd),
      details: { length, offset: BigInt(offset) },
    });
  }
  return hva;
}

/** Removes a mapping. Views of it must not be touched afterwards: that ends the process with SIGSEGV. munmap(2). */
export function munmap(hva: bigint, length: bigint | number): void {
  const call = libc<(p: bigint, n: bigint) => number>("int munmap(void *, size_t)");
  checked(call(anHva(hva, "hva"), aSize(length, "length")), "munmap");
}

/** Advises the kernel about a range, `MADV_*`. madvise(2). */
export function madvise(hva: bigint, length: bigint | number, advice: number): void {
  const result = tryMadvise(hva, length, advice);
  if (result < 0) throwErrno("madvise", -result);
}

/** Like {@link madvise}, but returns 0 or the negative error number. */
export function tryMadvise(hva: bigint, length: bigint | number, advice: number): number {
  const call = libc<(p: bigint, n: bigint, a: number) => number>("int madvise(void *, size_t, int)");
  const result = call(anHva(hva, "hva"), aSize(length, "length"), anInt(advice, "advice", 0, 0xff));
  return result < 0 ? -lastErrno() : 0;
}

/** Changes the access of a range, `PROT_*`. mprotect(2). */
export function mprotect(hva: bigint, length: bigint | number, prot: number): void {
  const call = libc<(p: bigint, n: bigint, a: number) => number>("int mprotect(void *, size_t, int)");
  checked(call(anHva(hva, "hva"), aSize(length, "length"), anInt(prot, "prot", 0, 0xff)), "mprotect");
}

/** Writes a mapped file's pages back, `MS_SYNC` unless given. msync(2). */
export function msync(hva: bigint, length: bigint | number, flags: number = MS_SYNC): void {
  const call = libc<(p: bigint, n: bigint, a: number) => number>("int msync(void *, size_t, int)");
  checked(call(anHva(hva, "hva"), aSize(length, "length"), anInt(flags, "flags", 0, 0xff)), "msync");
}

/** Keeps a range resident. Throws with `ENOMEM` or `EPERM` above RLIMIT_MEMLOCK. mlock(2). */
export function mlock(hva: bigint, length: bigint | number): void {
  const call = libc<(p: bigint, n: bigint) => number>("int mlock(void *, size_t)");
  checked(call(anHva(hva, "hva"), aSize(length, "length")), "mlock");
}

/** Undoes {@link mlock}. munlock(2). */
export function munlock(hva: bigint, length: bigint | number): void {
  const call = libc<(p: bigint, n: bigint) => number>("int munlock(void *, size_t)");
  checked(call(anHva(hva, "hva"), aSize(length, "length")), "munlock");
}

/**
 * An ArrayBuffer over `length` bytes of mapped memory, without a copy. Nobody frees the memory through it, and posting
 * it to another thread copies: send the address instead. It does not outlive the mapping.
 * Throws `VIEW_TOO_LONG` above {@link MAX_VIEW_LENGTH}.
 */
export function view(hva: bigint, length: number): ArrayBuffer {
  anHva(hva, "hva");
  anInt(length, "length", 0);
  if (length > MAX_VIEW_LENGTH) {
    throw new BatonError("VIEW_TOO_LONG", `a view of ${length} bytes is longer than 1 GiB`, {
      hint: "take several views",
      details: { hva, length },
    });
  }
  return viewMemory(hva, length);
}

/** Compares memory: 0 if equal, else the sign of the first difference. Both ranges must be mapped. memcmp(3). */
export function memcmp(a: bigint, b: bigint, length: bigint | number): number {
  const call = libc<(a: bigint, b: bigint, n: bigint) => number>("int memcmp(void *, void *, size_t)");
  return call(anHva(a, "a"), anHva(b, "b"), aSize(length, "length"));
}

/** Copies memory; the ranges must be mapped and may overlap. memmove(3). */
export function memcpy(to: bigint, from: bigint, length: bigint | number): void {
  libc<(d: bigint, s: bigint, n: bigint) => bigint>("void *memmove(void *, void *, size_t)")(
    anHva(to, "to"),
    anHva(from, "from"),
    aSize(length, "length"),
  );
}

/** Fills memory with a byte; the range must be mapped. memset(3). */
export function memset(hva: bigint, byte: number, length: bigint | number): void {
  libc<(p: bigint, c: number, n: bigint) => bigint>("void *memset(void *, int, size_t)")(
    anHva(hva, "hva"),
    anInt(byte, "byte", 0, 255),
    aSize(length, "length"),
  );
}
