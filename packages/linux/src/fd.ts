import { F_DUPFD_CLOEXEC } from "./abi/file.js";
import { checked } from "./errno.js";
import { BatonError } from "./errors.js";
import { libc } from "./native.js";
import { anInt } from "./validate.js";

/** A descriptor that is owned, or a bare number that somebody else owns. */
export type FdLike = Fd | number;

const open = new Set<Fd>();

/**
 * An owned file descriptor: closed exactly once, by {@link Fd.close} or at the end of a `using` block, unless its
 * ownership is given up with {@link Fd.release}. Nothing closes it behind the owner's back.
 */
export class Fd {
  /** What it is, for messages: a path, `eventfd`, `kvm-vcpu:0`. */
  readonly name: string;
  #raw: number;

  private constructor(raw: number, name: string) {
    this.#raw = raw;
    this.name = name;
    open.add(this);
  }

  /** Takes ownership of a descriptor number that is open and that nobody else will close. */
  static adopt(raw: number, name: string): Fd {
    return new Fd(anInt(raw, "fd", 0, 0x7fffffff), name);
  }

  /** The number. Throws `FD_CLOSED` after {@link Fd.close} or {@link Fd.release}. */
  get raw(): number {
    if (this.#raw < 0) throw new BatonError("FD_CLOSED", `${this.name}: the descriptor is closed`);
    return this.#raw;
  }

  get closed(): boolean {
    return this.#raw < 0;
  }

  /** Closes the descriptor; a second call does nothing. close(2). */
  close(): void {
    if (this.#raw < 0) return;
    const raw = this.release();
    checked(libc<(fd: number) => number>("int close(int)")(raw), "close", this.name);
  }

  /** Gives up ownership and returns the number, which the caller now owns. */
  release(): number {
    const raw = this.raw;
    this.#raw = -1;
    open.delete(this);
    return raw;
  }

  /** A second descriptor of the same open file, close-on-exec. fcntl(2) F_DUPFD_CLOEXEC. */
  dup(name = this.name): Fd {
    return dupFd(this, name);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A new, owned, close-on-exec descriptor of the same open file. fcntl(2) F_DUPFD_CLOEXEC. */
export function dupFd(fd: FdLike, name?: string): Fd {
  const fcntl = libc<(fd: number, cmd: number, arg: number) => number>("int fcntl(int, int, int64_t)");
  const raw = checked(fcntl(rawFd(fd), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC", fdName(fd));
  return Fd.adopt(raw, name ?? fdName(fd));
}

/** The number of a descriptor. Throws `FD_CLOSED` or `INVALID_ARGUMENT`. */
export function rawFd(fd: FdLike): number {
  return anInt(typeof fd === "object" ? fd.raw : fd, "fd", 0, 0x7fffffff);
}

/** How messages call a descriptor. */
export function fdName(fd: FdLike): string {
  return typeof fd === "number" ? `fd ${fd}` : fd.name;
}

/** Every descriptor that this thread owns through {@link Fd} right now; for leak checks in tests. */
export function liveFds(): readonly { readonly raw: number; readonly name: string }[] {
  return [...open].map((fd) => ({ raw: fd.raw, name: fd.name }));
}
