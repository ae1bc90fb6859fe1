import { accept, drainEventfd, EPOLLIN, type Fd, timerfdCreate, timerfdSettime } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import { VsockHandshake } from "./handshake.js";

/** How long a host program may take for its first line, and the guest for an answer. */
const TIMEOUT_MS = 2000;
/** How often it is looked whether one has taken too long. */
const CHECK_NS = 1_000_000_000n;

/** What a listener tells its device. */
export interface HostListenerEvents {
  /** Whether there is room for one more connection. */
  hasRoom(): boolean;
  /** A host program has said to which port of the guest it wants; the socket is the device's from now on. */
  onConnect(fd: Fd, guestPort: number): void;
  /** What {@link HostListener.expect} was told of has taken too long. */
  onTimeout(expected: object): void;
}

/** The socket that host programs connect to, those that have not said what they want yet, and the time that things may take. */
export class HostListener {
  readonly #context: VirtioDeviceContext;
  readonly #fd: number;
  readonly #events: HostListenerEvents;
  readonly #handshakes = new Set<VsockHandshake>();
  /** What the guest has to answer, with the time when that is given up. */
  readonly #expected = new Map<object, number>();
  readonly #timer = timerfdCreate();
  readonly #endTimer: () => void;
  #endListen: (() => void) | undefined;
  #started = false;

  /** `fd` listens, and is non-blocking. */
  constructor(context: VirtioDeviceContext, fd: number, events: HostListenerEvents) {
    this.#context = context;
    this.#fd = fd;
    this.#events = events;
    this.#endTimer = context.watch(this.#timer.raw, EPOLLIN, () => {
      drainEventfd(this.#timer);
      this.#expire();
    });
  }

  /** Host programs that have not said what they want. */
  get waiting(): readonly VsockHandshake[] {
    return [...this.#handshakes];
  }

  /** Accepts and listens from now on. */
  start(): void {
    this.#started = true;
    this.#listen();
    for (const handshake of this.#handshakes) this.#watch(handshake);
    this.#arm();
  }

  /** Neither accepts nor reads until it is started again. */
  stop(): void {
    this.#started = false;
    this.#endListening();
    timerfdSettime(this.#timer, { value: 0n });
    for (const handshake of this.#handshakes) {
      handshake.endWatch?.();
      handshake.endWatch = undefined;
    }
  }

  /** Takes a host program that has sent `line` so far; it is heard while this is started. */
  add(fd: Fd, line = ""): void {
    const handshake = new VsockHandshake(fd, performance.now() + TIMEOUT_MS, line);
    this.#handshakes.add(handshake);
    if (!this.#started) return;
    this.#watch(handshake);
    this.#arm();
  }

  /** Gives the guest some time for an answer. */
  expect(answer: object): void {
    this.#expected.set(answer, performance.now() + TIMEOUT_MS);
    if (this.#started) this.#arm();
  }

  /** The answer has come, or is not wanted any more. */
  answered(answer: object): void {
    this.#expected.delete(answer);
  }

  /** Forgets everybody; `letGo` has their sockets. */
  clear(letGo: (fd: Fd) => void): void {
    for (const handshake of this.#handshakes) {
      handshake.endWatch?.();
      letGo(handshake.fd);
    }
    this.#handshakes.clear();
    this.#expected.clear();
  }

  close(): void {
    this.stop();
    this.#endTimer();
    this.#timer.close();
  }

  #listen(): void {
    this.#endListen ??= this.#context.watch(this.#fd, EPOLLIN, () => this.#accept());
  }

  #endListening(): void {
    this.#endListen?.();
    this.#endListen = undefined;
  }

  #accept(): void {
    let fd: Fd | null;
    try {
      fd = accept(this.#fd, { nonblock: true });
    } catch {
      // No descriptors are left, as a rule: those who wait are let in later.
      this.#endListening();
      this.#arm();
      return;
    }
    if (fd === null) return;
    if (!this.#events.hasRoom()) {
      fd.close();
      return;
    }
    this.add(fd);
  }

  #watch(handshake: VsockHandshake): void {
    handshake.endWatch ??= this.#context.watch(handshake.fd.raw, EPOLLIN, () => {
      const port = handshake.read();
      if (port === "wait") return;
      this.#forget(handshake);
      if (port === "bad") handshake.fd.close();
      else this.#events.onConnect(handshake.fd, port);
    });
  }

  #forget(handshake: VsockHandshake): void {
    handshake.endWatch?.();
    this.#handshakes.delete(handshake);
  }

  #arm(): void {
    const pending = this.#handshakes.size + this.#expected.size > 0 || this.#endListen === undefined;
    timerfdSettime(this.#timer, { value: pending ? CHECK_NS : 0n });
  }

  #expire(): void {
    this.#listen();
    const now = performance.now();
    for (const handshake of this.waiting) {
      if (handshake.deadline > now) continue;
      this.#forget(handshake);
      handshake.fd.close();
    }
    for (const [answer, deadline] of [...this.#expected]) {
      if (deadline > now) continue;
      this.#expected.delete(answer);
      this.#events.onTimeout(answer);
    }
    this.#arm();
  }
}
