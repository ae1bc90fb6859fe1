import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { BatonError, installNoopHandler, SIGURG } from "@baton/linux";
import type { Assignment } from "../vcpu-thread/messages.js";

const here = createRequire(import.meta.url);

/** A started thread of the pool. */
export interface PooledThread {
  readonly worker: Worker;
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
  readonly #busy = new Set<PooledThread>();
  #hooked = false;

  /** Starts threads until `count` are idle; resolves when they are ready for work. */
  async prestart(count: number): Promise<void> {
    const missing = Math.max(0, count - this.#idle.length);
    this.#idle.push(...(await Promise.all(Array.from({ length: missing }, () => this.#start()))));
  }

  /** Takes an idle thread, or starts one. */
  async acquire(): Promise<PooledThread> {
    const thread = this.#idle.pop() ?? (await this.#start());
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
    const thread: PooledThread = {
      worker,
      interrupt: undefined,
      assign(assignment, onMessage, transfer = []) {
        worker.on("message", onMessage);
        worker.postMessage(assignment, transfer as never);
      },
    };
    worker.on("error", (error) => this.#lost(thread, error));
    worker.on("exit", () => this.#lost(thread, undefined));
    worker.unref();
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
