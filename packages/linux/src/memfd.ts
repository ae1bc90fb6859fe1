import { F_ADD_SEALS, F_GET_SEALS } from "./abi/file.js";
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_HUGE_1GB, MFD_HUGE_2MB, MFD_HUGETLB } from "./abi/mman.js";
import { checked, throwErrno } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { aCString, aU32 } from "./validate.js";

/** What {@link memfdCreate} may be told. */
export interface MemfdOptions {
  /** Takes pages of this size from the kernel's pool (/proc/sys/vm/nr_hugepages). */
  readonly hugePages?: "2M" | "1G" | undefined;
  /** Whether seals can be added; false unless given. */
  readonly sealable?: boolean | undefined;
}

/** An anonymous file in memory, close-on-exec, of size 0. Throws `SYSCALL_FAILED`. memfd_create(2). */
export function memfdCreate(name: string, options: MemfdOptions = {}): Fd {
  let flags = MFD_CLOEXEC;
  if (options.sealable) flags |= MFD_ALLOW_SEALING;
  if (options.hugePages) flags |= MFD_HUGETLB | (options.hugePages === "1G" ? MFD_HUGE_1GB : MFD_HUGE_2MB);
  const call = libc<(name: string, flags: number) => number>("int memfd_create(const char *, unsigned int)");
  const raw = call(aCString(name, "name"), flags >>> 0);
  if (raw < 0) {
    throwErrno("memfd_create", lastErrno(), {
      what: name,
      hint: options.hugePages ? `does this kernel have ${options.hugePages} huge pages?` : undefined,
    });
  }
  return Fd.adopt(raw, `memfd:${name}`);
}

/** Adds `F_SEAL_*` to a sealable memfd. fcntl(2) F_ADD_SEALS. */
export function addSeals(fd: FdLike, seals: number): void {
  const call = libc<(fd: number, cmd: number, arg: number) => number>("int fcntl(int, int, int64_t)");
  checked(call(rawFd(fd), F_ADD_SEALS, aU32(seals, "seals")), "fcntl F_ADD_SEALS", fdName(fd));
}

/** The `F_SEAL_*` of a memfd. fcntl(2) F_GET_SEALS. */
export function getSeals(fd: FdLike): number {
  const call = libc<(fd: number, cmd: number, arg: number) => number>("int fcntl(int, int, int64_t)");
  return checked(call(rawFd(fd), F_GET_SEALS, 0), "fcntl F_GET_SEALS", fdName(fd));
}
