import { EAGAIN, EPERM } from "./abi/errno.js";
import { O_CLOEXEC, O_NONBLOCK, O_RDWR } from "./abi/file.js";
import { SYS_userfaultfd } from "./abi/process.js";
import {
  UFFD_API,
  UFFD_EVENT_FORK,
  UFFD_EVENT_PAGEFAULT,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_PAGEFAULT_FLAG_MINOR,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
  UFFD_USER_MODE_ONLY,
  UFFDIO_API,
  UFFDIO_CONTINUE,
  UFFDIO_CONTINUE_MODE_DONTWAKE,
  UFFDIO_COPY,
  UFFDIO_COPY_MODE_DONTWAKE,
  UFFDIO_COPY_MODE_WP,
  UFFDIO_REGISTER,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_UNREGISTER,
  UFFDIO_WAKE,
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_WP,
  UFFDIO_ZEROPAGE,
  UFFDIO_ZEROPAGE_MODE_DONTWAKE,
  USERFAULTFD_IOC_NEW,
  uffd_msg,
} from "./abi/userfaultfd.js";
import { throwErrno } from "./errno.js";
import { Fd } from "./fd.js";
import { open } from "./files.js";
import { ioctl, tryIoctlInt, tryIoctlPtr } from "./ioctl.js";
import { lastErrno, libc } from "./native.js";
import { tryRead } from "./read-write.js";
import { anHva, aSize, aU64 } from "./validate.js";

/** What {@link Userfaultfd.open} may be told. */
export interface UserfaultfdOptions {
  /** `UFFD_FEATURE_*` to ask for; a kernel that lacks one answers EINVAL. */
  readonly features?: bigint;
  /** Faults of user code only: what an unprivileged process may have. False unless given (KVM faults in the kernel). */
  readonly userModeOnly?: boolean;
  /** Whether reading without an event gives none instead of blocking; true unless given. */
  readonly nonblock?: boolean;
}

/** An event of a {@link Userfaultfd}; addresses and lengths are in this process, in bytes. */
export type UserfaultfdEvent =
  | {
      readonly kind: "pagefault";
      readonly address: bigint;
      readonly write: boolean;
      /** A write to a write-protected page. */
      readonly writeProtected: boolean;
      /** The page is in the page cache and only not mapped. */
      readonly minor: boolean;
      /** The thread that faults, with UFFD_FEATURE_THREAD_ID; else 0. */
      readonly tid: number;
    }
  | { readonly kind: "fork"; readonly fd: Fd }
  | { readonly kind: "remap"; readonly from: bigint; readonly to: bigint; readonly length: bigint }
  | { readonly kind: "remove" | "unmap"; readonly start: bigint; readonly end: bigint };

/** Which faults of a range to handle. */
export interface RegisterMode {
  readonly missing?: boolean;
  readonly writeProtect?: boolean;
  readonly minor?: boolean;
}

function openRaw(flags: number): Fd {
  const syscall = libc<(nr: number, flags: number) => number>("long syscall(long, int64_t)");
  const raw = syscall(SYS_userfaultfd, flags);
  if (raw >= 0) return Fd.adopt(raw, "userfaultfd");
  const errno = lastErrno();
  if (errno !== EPERM) throwErrno("userfaultfd", errno);
  const hint = "it needs /dev/userfaultfd, CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1";
  let device: Fd;
  try {
    device = open("/dev/userfaultfd", O_RDWR);
  } catch {
    throwErrno("userfaultfd", errno, { hint });
  }
  const viaDevice = tryIoctlInt(device.raw, USERFAULTFD_IOC_NEW, flags);
  device.close();
  if (viaDevice < 0) throwErrno("ioctl USERFAULTFD_IOC_NEW", -viaDevice, { hint });
  return Fd.adopt(viaDevice, "userfaultfd");
}

/**
 * Page faults of this process's memory, answered in user space. The thread that answers must not touch registered
 * memory itself: a faulting thread waits in the kernel. Closing it lets waiting threads go on with zero pages.
 * userfaultfd(2), ioctl_userfaultfd(2).
 */
export class Userfaultfd {
  readonly fd: Fd;
  /** The `UFFD_FEATURE_*` that this kernel has. */
  readonly features: bigint;
  readonly #words = new BigUint64Array(5);
  #messages = new Uint8Array(uffd_msg.size * 16);

  private constructor(fd: Fd, features: bigint) {
    this.fd = fd;
    this.features = features;
  }

  /** Opens one, by the system call or else /dev/userfaultfd. Throws `SYSCALL_FAILED` with `EPERM` where not permitted. */
  static open(options: UserfaultfdOptions = {}): Userfaultfd {
    const { features = 0n, userModeOnly = false, nonblock = true } = options;
    const fd = openRaw(O_CLOEXEC | (nonblock ? O_NONBLOCK : 0) | (userModeOnly ? UFFD_USER_MODE_ONLY : 0));
    try {
      const api = BigUint64Array.of(BigInt(UFFD_API), aU64(features, "features"), 0n);
      ioctl(fd, UFFDIO_API, api, "UFFDIO_API");
      return new Userfaultfd(fd, api[1] as bigint);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** Takes over a descriptor whose handshake was made elsewhere. */
  static adopt(fd: Fd, features: bigint): Userfaultfd {
    return new Userfaultfd(fd, features);
  }

  #range(request: number, name: string, words: readonly bigint[]): BigUint64Array {
    const argument = BigUint64Array.from(words);
    ioctl(this.fd, request, argument, name);
    return argument;
  }

  /** Handles faults of a range, page-aligned. Returns the bits of the ioctls that the range allows. UFFDIO_REGISTER. */
  register(hva: bigint, length: bigint | number, mode: RegisterMode): bigint {
    const bits =
      (mode.missing ? UFFDIO_REGISTER_MODE_MISSING : 0) |
      (mode.writeProtect ? UFFDIO_REGISTER_MODE_WP : 0) |
      (mode.minor ? UFFDIO_REGISTER_MODE_MINOR : 0);
    const words = [anHva(hva, "hva"), aSize(length, "length"), BigInt(bits), 0n];
    return this.#range(UFFDIO_REGISTER, "UFFDIO_REGISTER", words)[3] as bigint;
  }

  /** Ends the handling of a range, and wakes who waits in it. UFFDIO_UNREGISTER. */
  unregister(hva: bigint, length: bigint | number): void {
    this.#range(UFFDIO_UNREGISTER, "UFFDIO_UNREGISTER", [anHva(hva, "hva"), aSize(length, "length")]);
  }

  /**
   * Fills missing pages from `source` and wakes who waits for them. Returns the bytes filled, or the negative error
   * number: -EEXIST where a page was there already, -EAGAIN while the mappings change. UFFDIO_COPY.
   */
  tryCopy(
    to: bigint,
    source: bigint,
    length: number,
    options: { dontWake?: boolean; writeProtect?: boolean } = {},
  ): number {
    const mode = (options.dontWake ? UFFDIO_COPY_MODE_DONTWAKE : 0) | (options.writeProtect ? UFFDIO_COPY_MODE_WP : 0);
    const words = this.#words;
    words[0] = anHva(to, "to");
    words[1] = anHva(source, "source");
    words[2] = aSize(length, "length");
    words[3] = BigInt(mode);
    words[4] = 0n;
    return this.#filled(tryIoctlPtr(this.fd.raw, UFFDIO_COPY, words), 4);
  }

  /** Like {@link Userfaultfd.tryCopy}, but throws `SYSCALL_FAILED`. */
  copy(
    to: bigint,
    source: bigint,
    length: number,
    options: { dontWake?: boolean; writeProtect?: boolean } = {},
  ): number {
    return this.#orThrow("UFFDIO_COPY", this.tryCopy(to, source, length, options));
  }

  /** Fills missing pages with zeroes. Returns the bytes filled. UFFDIO_ZEROPAGE. */
  zeroPage(to: bigint, length: number, options: { dontWake?: boolean } = {}): number {
    const mode = options.dontWake ? UFFDIO_ZEROPAGE_MODE_DONTWAKE : 0;
    return this.#fill(UFFDIO_ZEROPAGE, "UFFDIO_ZEROPAGE", to, length, mode);
  }

  /** Maps pages that are in the page cache, after a minor fault. Returns the bytes mapped. UFFDIO_CONTINUE. */
  continue(to: bigint, length: number, options: { dontWake?: boolean } = {}): number {
    const mode = options.dontWake ? UFFDIO_CONTINUE_MODE_DONTWAKE : 0;
    return this.#fill(UFFDIO_CONTINUE, "UFFDIO_CONTINUE", to, length, mode);
  }

  #fill(request: number, name: string, to: bigint, length: number, mode: number): number {
    const words = this.#words;
    words[0] = anHva(to, "to");
    words[1] = aSize(length, "length");
    words[2] = BigInt(mode);
    words[3] = 0n;
    return this.#orThrow(name, this.#filled(tryIoctlPtr(this.fd.raw, request, words), 3));
  }

  /** What a fill did: with -EAGAIN the kernel may still have filled a part, which it then writes back. */
  #filled(result: number, index: number): number {
    const filled = Number(BigInt.asIntN(64, this.#words[index] as bigint));
    if (result === -EAGAIN && filled > 0) return filled;
    return result < 0 ? result : filled;
  }

  #orThrow(name: string, result: number): number {
    if (result < 0) throwErrno(`ioctl ${name}`, -result, { what: this.fd.name });
    return result;
  }

  /** Wakes who waits in a range. UFFDIO_WAKE. */
  wake(hva: bigint, length: bigint | number): void {
    this.#range(UFFDIO_WAKE, "UFFDIO_WAKE", [anHva(hva, "hva"), aSize(length, "length")]);
  }

  /** Write-protects a range, or lifts the protection and wakes who waits. UFFDIO_WRITEPROTECT. */
  writeProtect(hva: bigint, length: bigint | number, protect: boolean): void {
    const mode = BigInt(protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0);
    this.#range(UFFDIO_WRITEPROTECT, "UFFDIO_WRITEPROTECT", [anHva(hva, "hva"), aSize(length, "length"), mode]);
  }

  /** Takes up to `max` events; an empty array if there is none and the descriptor is non-blocking. read(2). */
  readEvents(max = 16): UserfaultfdEvent[] {
    if (this.#messages.byteLength < max * uffd_msg.size) this.#messages = new Uint8Array(max * uffd_msg.size);
    const bytes = this.#messages.subarray(0, max * uffd_msg.size);
    const got = tryRead(this.fd.raw, bytes);
    if (got === -EAGAIN) return [];
    if (got < 0) throwErrno("read", -got, { what: this.fd.name });
    return Array.from({ length: got / uffd_msg.size }, (_, i) =>
      decodeEvent(new DataView(bytes.buffer, i * uffd_msg.size, uffd_msg.size)),
    );
  }

  /** Closes the descriptor: who waits for a page goes on with a zero page. A second call does nothing. */
  close(): void {
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function decodeEvent(data: DataView): UserfaultfdEvent {
  const u64 = (offset: number) => data.getBigUint64(offset, true);
  const event = data.getUint8(uffd_msg.event);
  switch (event) {
    case UFFD_EVENT_PAGEFAULT: {
      const flags = Number(u64(uffd_msg.arg_pagefault_flags));
      return {
        kind: "pagefault",
        address: u64(uffd_msg.arg_pagefault_address),
        write: (flags & UFFD_PAGEFAULT_FLAG_WRITE) !== 0,
        writeProtected: (flags & UFFD_PAGEFAULT_FLAG_WP) !== 0,
        minor: (flags & UFFD_PAGEFAULT_FLAG_MINOR) !== 0,
        tid: data.getUint32(uffd_msg.arg_pagefault_feat, true),
      };
    }
    case UFFD_EVENT_FORK:
      return { kind: "fork", fd: Fd.adopt(data.getUint32(uffd_msg.arg_fork_ufd, true), "userfaultfd of a child") };
    case UFFD_EVENT_REMAP:
      return {
        kind: "remap",
        from: u64(uffd_msg.arg_remap_from),
        to: u64(uffd_msg.arg_remap_to),
        length: u64(uffd_msg.arg_remap_len),
      };
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
      return {
        kind: event === UFFD_EVENT_REMOVE ? "remove" : "unmap",
        start: u64(uffd_msg.arg_remove_start),
        end: u64(uffd_msg.arg_remove_end),
      };
    default:
      throw new Error(`userfaultfd: event ${event} is not known`);
  }
}
