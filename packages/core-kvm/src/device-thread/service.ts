import type { BusHandler } from "../bus/handler.js";

/** What a service may do in its device thread. */
export interface ServiceContext {
  readonly options: unknown;
  /** Calls `onReady` in the device thread whenever the descriptor has one of the epoll `events`; returns the end of it. */
  watch(fd: number, events: number, onReady: (events: number) => void): () => void;
  /** Calls `work` once, after the descriptors that are ready now: for work that is cut into pieces to be fair to others. */
  defer(work: () => void): void;
  /** Takes part in the thread's busy polling, where it does any; returns the end of it. */
  poll(poller: Poller): () => void;
  /** Sends a structured-clonable value to the embedder. */
  emit(event: unknown): void;
}

/** What is looked at again and again while a device thread polls instead of sleeping. */
export interface Poller {
  /** The thread begins to poll: notifications are not needed. */
  begin(): void;
  /** Looks for work and does some of it; whether there was any. */
  poll(): boolean;
  /** The thread goes to sleep: notifications are needed from now on; whether work had come before that. */
  end(): boolean;
}

/** How long a device thread polls before it sleeps; all in ns. As QEMU's iothreads, the time adapts to what is met. */
export interface PollingOptions {
  /** The longest time; 0 never polls. */
  readonly maxNs: number;
  /** By what the time is multiplied when work came just after; 0 stands for 2. */
  readonly grow?: number;
  /** By what the time is divided when no work came; 0 makes it 0. */
  readonly shrink?: number;
}

/** Code in a device thread that serves descriptors: a console's back end, a disk. */
export interface Service {
  /** Answers accesses of guests to devices that name this service as their handler. */
  readonly bus?: BusHandler;
  /** Answers {@link ServiceHandle.call}; a promise is waited for. */
  call?(method: string, args: unknown): unknown;
  close(): void;
}

/** What a service's module exports. */
export type ServiceFactory = (context: ServiceContext) => Service | Promise<Service>;
