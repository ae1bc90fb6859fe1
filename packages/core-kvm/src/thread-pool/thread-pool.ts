import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { BatonError, installNoopHandler, SIGURG } from "@baton/linux";
import type { Assignment } from "../vcpu-thread/messages.js";

const here = createRequire(import.meta.url);

/** A started thread of the pool. */
export interface PooledThread {
  readonly worker: Worker;
  /** Resolves when the thread has loaded its libraries; work may be assigned before. */
  readonly ready: Promise<void>;
  /** Sends the work and routes the thread's messages to `onMessage` until it has said `released`, or died. */
  assign(assignment: Assignment, onMessage: (message: unknown) => void, transfer?: readonly object[]): void;
  /** Wakes the thread out of any system call; called before the process exits. */
  interrupt: (() => void) | undefined;
}

/**
 * Threads with their libraries loaded, reused from one VM to the next: starting one takes 20 to 45 ms. Idle threads do
 * not keep the process alive; busy ones do. When the process exits, busy ones are interrupted first, since Node waits
 * for them.
 */
class ThreadPool {
  readonly #idle: PooledThread[] = [];
  /** Threads that have been asked for and that nobody has been promised. */
  readonly #starting: Promise<PooledThread>[] = [];
  readonly #busy = new Set<PooledThread>();
  #hooked = false;

  /** Starts threads until `count` are idle or under way; resolves when those are ready for work. */
  async prestart(count: number): Promise<void> {
    const missing = Math.max(0, count - this.#idle.length - this.#starting.length);
    for (let i = 0; i < missing; i++) {
      const start = this.#start();
      start.catch(() => {});
      this.#starting.push(start);
    }
    const starting = [...this.#starting];
    const threads = await Promise.all(starting);
    starting.forEach((start, i) => {
      const index = this.#starting.indexOf(start);
      if (index < 0) return;
      this.#starting.splice(index, 1);
      this.#idle.push(threads[i] as PooledThread);
    });
    await Promise.all([...threads, ...this.#idle].map((thread) => thread.ready));
  }

  /** Takes an idle thread, or one that is being started, or starts one. */
  async acquire(): Promise<PooledThread> {
    const thread = this.#idle.pop() ?? (await (this.#starting.shift() ?? this.#start()));
    this.#busy.add(thread);
    thread.worker.ref();
    return thread;
  }

  /** Takes back a thread that has said `released`. */
  release(thread: PooledThread): void {
    if (!this.#busy.delete(thread)) return;
    thread.interrupt = undefined;
    thread.worker.removeAllListeners("message");
    thread.worker.unref();
    this.#idle.push(thread);
  }

  /** How many threads wait for work and how many work. */
  get size(): { readonly idle: number; readonly busy: number } {
    return { idle: this.#idle.length, busy: this.#busy.size };
  }

  /** Ends the idle threads. */
  async drain(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((thread) => thread.worker.terminate()));
  }

  #hook(): void {
    if (this.#hooked) return;
    this.#hooked = true;
    installNoopHandler(SIGURG);
    process.on("exit", () => {
      for (const thread of this.#busy) thread.interrupt?.();
    });
  }

  async #start(): Promise<PooledThread> {
    this.#hook();
    const worker = new Worker(here.resolve("@baton/core-kvm/worker"), { stdout: false, stderr: false });
    await new Promise<void>((resolve, reject) => {
      worker.once("online", resolve);
      worker.once("error", reject);
    });
    worker.removeAllListeners("error");
    const ready = new Promise<void>((resolve) => {
      worker.once("message", () => resolve());
      worker.once("exit", () => resolve());
    });
    const thread: PooledThread = {
      worker,
      ready,
      interrupt: undefined,
      assign(assignment, onMessage, transfer = []) {
        worker.on("message", onMessage);
        worker.postMessage(assignment, transfer as never);
      },
    };
    worker.on("error", (error) => this.#lost(thread, error));
    worker.on("exit", () => this.#lost(thread, undefined));
    ready.then(() => {
      if (!this.#busy.has(thread)) worker.unref();
    });
    return thread;
  }

  #lost(thread: PooledThread, error: Error | undefined): void {
    const index = this.#idle.indexOf(thread);
    if (index >= 0) this.#idle.splice(index, 1);
    if (!this.#busy.delete(thread)) return;
    const failure = new BatonError(
      "THREAD_DIED",
      `A thread ended unexpectedly: ${error?.message ?? "no reason given"}`,
    );
    thread.worker.emit("message", { type: "failed", error: { code: failure.code, message: failure.message } });
    thread.worker.emit("message", { type: "released" });
  }
}

/** The threads of this process that run vCPUs and devices. */
export const threadPool: ThreadPool = new ThreadPool();
export type { ThreadPool };
