import { EINTR } from "./abi/errno.js";
import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, epoll_event } from "./abi/event.js";
import { checked, throwErrno } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { anInt } from "./validate.js";

const WORDS = epoll_event.size / 4;

type Ctl = (epfd: number, op: number, fd: number, event: Uint32Array) => number;
type Wait = (epfd: number, events: Uint32Array, max: number, timeout: number) => number;

/** Waits for many descriptors at once, each known by a token of 32 bits that its user chooses. epoll(7). */
export class Epoll {
  readonly fd: Fd;
  readonly #event = new Uint32Array(WORDS);
  #events = new Uint32Array(WORDS * 16);
  readonly #wait: Wait;

  constructor(name = "epoll") {
    const create = libc<(flags: number) => number>("int epoll_create1(int)");
    this.fd = Fd.adopt(checked(create(EPOLL_CLOEXEC), "epoll_create1"), name);
    this.#wait = libc<Wait>("int epoll_wait(int, void *, int, int)");
  }

  #control(op: number, name: string, fd: FdLike, events: number, token: number): void {
    // `|` with EPOLLET gives a negative number.
    this.#event[0] = anInt(events, "events", -0x80000000, 0xffffffff);
    this.#event[1] = anInt(token, "token", -0x80000000, 0xffffffff);
    const call = libc<Ctl>("int epoll_ctl(int, int, int, void *)");
    checked(call(this.fd.raw, op, rawFd(fd), this.#event), `epoll_ctl ${name}`, fdName(fd));
  }

  /** Watches a descriptor for `EPOLL*` events. Throws with `EEXIST`, or `EPERM` for a plain file. */
  add(fd: FdLike, events: number, token: number): void {
    this.#control(EPOLL_CTL_ADD, "EPOLL_CTL_ADD", fd, events, token);
  }

  /** Changes the events or the token of a descriptor that is watched. */
  modify(fd: FdLike, events: number, token: number): void {
    this.#control(EPOLL_CTL_MOD, "EPOLL_CTL_MOD", fd, events, token);
  }

  /** Stops watching. A descriptor whose file has duplicates must be deleted before it is closed: it reports on else. */
  delete(fd: FdLike): void {
    this.#control(EPOLL_CTL_DEL, "EPOLL_CTL_DEL", fd, 0, 0);
  }

  /**
   * Waits for events, up to `max` of them, for `timeoutMs` (-1: for ever, 0: not at all). Writes a pair per event,
   * token then events, to `into`, and returns how many pairs: 0 on a timeout and when a signal came.
   * epoll_wait(2).
   */
  wait(max: number, timeoutMs: number, into: Int32Array | Uint32Array): number {
    const limit = Math.min(max, into.length >> 1);
    if (this.#events.length < limit * WORDS) this.#events = new Uint32Array(limit * WORDS);
    const events = this.#events;
    const count = this.#wait(this.fd.raw, events, limit, timeoutMs);
    if (count < 0) {
      const errno = lastErrno();
      if (errno === EINTR) return 0;
      throwErrno("epoll_wait", errno, { what: this.fd.name });
    }
    for (let i = 0; i < count; i++) {
      into[2 * i] = events[WORDS * i + 1] as number;
      into[2 * i + 1] = events[WORDS * i] as number;
    }
    return count;
  }

  get closed(): boolean {
    return this.fd.closed;
  }

  /** Closes the epoll descriptor, not what it watched; a second call does nothing. */
  close(): void {
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
