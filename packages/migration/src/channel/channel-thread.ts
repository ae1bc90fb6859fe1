import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { BatonError, drainEventfd, eventfd, type Fd, signalEventfd, throwIfAborted } from "@baton/linux";
import type { PageOptions } from "./channel.js";
import {
  CANCELLED,
  type ChannelReply,
  type ChannelRequest,
  type ChannelTarget,
  type ChannelTask,
  type ChannelThreadData,
  restoreError,
} from "./messages.js";

const here = createRequire(import.meta.url);
const PROGRESS_INTERVAL_MS = 100;

const running = new Set<ChannelThread>();
let hooked = false;

/** Node waits for threads when the process exits: those in a system call are told first. */
function cancelAtExit(): void {
  if (hooked) return;
  hooked = true;
  process.on("exit", () => {
    for (const thread of running) thread.cancel();
  });
}

interface Pending {
  readonly id: number;
  readonly resolve: (result: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** A thread that makes a channel's blocking system calls, one task after the other. */
export class ChannelThread {
  readonly #worker: Worker;
  readonly #cancelFd: Fd;
  readonly #control = new Int32Array(new SharedArrayBuffer(4));
  readonly #progress = new Float64Array(new SharedArrayBuffer(24));
  #pending: Pending | undefined;
  #lastId = 0;
  #idle: Promise<unknown> = Promise.resolve();
  #exited = false;
  #closing: Promise<void> | undefined;

  constructor() {
    cancelAtExit();
    this.#cancelFd = eventfd({ name: "channel cancel" });
    const workerData: ChannelThreadData = {
      cancelFd: this.#cancelFd.raw,
      control: this.#control,
      progress: this.#progress,
    };
    try {
      this.#worker = new Worker(here.resolve("@baton/migration/worker"), { workerData });
    } catch (error) {
      this.#cancelFd.close();
      throw error;
    }
    this.#worker.on("message", (reply: ChannelReply) => this.#settle(reply));
    this.#worker.on("error", (error) => this.#lost(error));
    this.#worker.on("exit", () => this.#lost(undefined));
    this.#worker.unref();
    running.add(this);
  }

  /** Wakes the thread out of its present task. */
  cancel(): void {
    Atomics.store(this.#control, 0, CANCELLED);
    signalEventfd(this.#cancelFd);
  }

  /** Has the thread do something; rejects with the signal's reason when it has stopped. */
  async run<T>(target: ChannelTarget, request: ChannelRequest, options: PageOptions = {}): Promise<T> {
    throwIfAborted(options.signal);
    if (this.#pending || this.#closing) {
      throw new BatonError("CHANNEL_BUSY", `${target.address}: another operation is under way`);
    }
    if (this.#exited) throw new BatonError("CHANNEL_IO", `${target.address}: the channel's thread has ended`);
    const id = ++this.#lastId;
    const done = new Promise<unknown>((resolve, reject) => {
      this.#pending = { id, resolve, reject };
    });
    this.#idle = done.catch(() => {});
    const abort = () => this.cancel();
    options.signal?.addEventListener("abort", abort, { once: true });
    const timer = options.onProgress && setInterval(() => this.#report(options), PROGRESS_INTERVAL_MS);
    this.#progress.fill(0);
    this.#worker.ref();
    try {
      this.#worker.postMessage({ id, target, request } satisfies ChannelTask);
      const result = (await done) as T;
      if (options.onProgress) this.#report(options);
      return result;
    } catch (error) {
      throw options.signal?.aborted ? options.signal.reason : error;
    } finally {
      clearInterval(timer);
      options.signal?.removeEventListener("abort", abort);
      if (!this.#exited) this.#worker.unref();
      if (Atomics.exchange(this.#control, 0, 0) === CANCELLED && !this.#cancelFd.closed) drainEventfd(this.#cancelFd);
    }
  }

  /** Cancels what is under way and ends the thread. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    if (this.#pending) this.cancel();
    await this.#idle;
    await this.#worker.terminate();
    running.delete(this);
    this.#cancelFd.close();
  }

  #report(options: PageOptions): void {
    const [bytes = 0, pages = 0, zeroPages = 0] = this.#progress;
    options.onProgress?.({ bytes, pages, zeroPages });
  }

  #settle(reply: ChannelReply): void {
    const pending = this.#pending;
    if (pending?.id !== reply.id) return;
    this.#pending = undefined;
    if ("error" in reply) pending.reject(restoreError(reply.error));
    else if ("cancelled" in reply) pending.reject(new BatonError("CHANNEL_CLOSED", "the operation was cancelled"));
    else pending.resolve(reply.result);
  }

  #lost(error: Error | undefined): void {
    this.#exited = true;
    running.delete(this);
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(
      new BatonError("CHANNEL_IO", `the channel's thread ended unexpectedly: ${error?.message ?? "no reason given"}`),
    );
  }
}
