import type { VirtioDeviceContext } from "../device/device.js";

/** Waits for one descriptor to become readable or writable: a thread's epoll takes each descriptor once. */
export class Readiness {
  readonly #context: VirtioDeviceContext;
  readonly #fd: number;
  readonly #onReady: (events: number) => void;
  #events = 0;
  #end: (() => void) | undefined;

  constructor(context: VirtioDeviceContext, fd: number, onReady: (events: number) => void) {
    this.#context = context;
    this.#fd = fd;
    this.#onReady = onReady;
  }

  /** Waits for these of the `EPOLL*` events too. */
  add(events: number): void {
    this.#set(this.#events | events);
  }

  /** Waits for these no more. */
  remove(events: number): void {
    this.#set(this.#events & ~events);
  }

  /** Waits for nothing. */
  stop(): void {
    this.#set(0);
  }

  #set(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    this.#end?.();
    this.#end = events === 0 ? undefined : this.#context.watch(this.#fd, events, this.#onReady);
  }
}
