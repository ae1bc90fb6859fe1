import { MessageChannel, type MessagePort } from "node:worker_threads";
import { BatonError, eventfd, type Fd, signalEventfd } from "@baton/linux";
import type { GuestMemoryDescriptor } from "@baton/memory";
import type { BusDescription } from "../bus/bus.js";
import { type PooledThread, threadPool } from "../thread-pool/thread-pool.js";
import type { VcpuGroup } from "../vcpu-thread/vcpu-group.js";
import type { DeviceCommand, DeviceReply, ServiceDescription } from "./messages.js";

type Unnumbered<T> = T extends unknown ? Omit<T, "sequence"> : never;

/** What an embedder hears of a service in a device thread. */
export interface ServiceListener {
  /** A value that the service emitted. */
  onEvent?(event: unknown): void;
  /** The service threw and has been ended. */
  onFailed?(error: BatonError): void;
}

/** A service that runs in a device thread. */
export interface ServiceHandle {
  /** Ends it; resolves when its descriptors are no longer used. May be called again. */
  close(): Promise<void>;
}

/**
 * A thread that answers `device` handlers and serves descriptors, for any number of VMs. It lives as long as something
 * is attached to it.
 */
export class DeviceThread {
  /** The shared thread, and how many callers have asked for it and not yet been given it. */
  static #shared: { readonly thread: Promise<DeviceThread>; waiting: number } | undefined;
  readonly #thread: PooledThread;
  readonly #wake: Fd;
  readonly #port: MessagePort;
  readonly #pending = new Map<number, { resolve: () => void; reject: (error: BatonError) => void }>();
  readonly #groups = new Map<number, VcpuGroup>();
  readonly #services = new Map<number, ServiceListener>();
  #sequence = 0;
  #users = 0;
  #isShared = false;
  #closed: Promise<void> | undefined;
  #released: Promise<void>;

  private constructor(thread: PooledThread) {
    this.#thread = thread;
    this.#wake = eventfd({ nonblock: true });
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#port.on("message", (reply: DeviceReply) => this.#receive(reply));
    this.#port.unref();
    thread.interrupt = () => this.#post({ type: "stop" });
    let released = () => {};
    this.#released = new Promise((resolve) => {
      released = resolve;
    });
    thread.assign(
      { role: "device", wakeFd: this.#wake.raw, port: port2 },
      (message) => {
        if ((message as { type: string }).type !== "released") return;
        threadPool.release(thread);
        released();
      },
      [port2],
    );
  }

  /** Starts a device thread of one's own; {@link release} ends it. */
  static async start(): Promise<DeviceThread> {
    return new DeviceThread(await threadPool.acquire()).retain();
  }

  /** The one that VMs use unless they are given their own; every caller must {@link release} it, the last use ends it. */
  static async shared(): Promise<DeviceThread> {
    DeviceThread.#shared ??= { thread: threadPool.acquire().then((thread) => new DeviceThread(thread)), waiting: 0 };
    const shared = DeviceThread.#shared;
    shared.waiting++;
    const thread = await shared.thread.finally(() => shared.waiting--);
    thread.#isShared = true;
    return thread.retain();
  }

  /** Counts one more user. */
  retain(): this {
    this.#users++;
    return this;
  }

  /** Counts one user less; the last one ends the thread's work. */
  async release(): Promise<void> {
    if (--this.#users > 0 || (this.#isShared && (DeviceThread.#shared?.waiting ?? 0) > 0)) return;
    await this.#close();
  }

  /** The eventfd that vCPU threads signal when an access waits. */
  get wakeFd(): number {
    return this.#wake.raw;
  }

  /** @internal Takes on the `device` handlers of a VM. */
  async attach(group: VcpuGroup, bus: BusDescription, memory: GuestMemoryDescriptor, vmFd: number): Promise<void> {
    const id = ++this.#sequence;
    this.#groups.set(id, group);
    const controls = group.threads.map((thread) => thread.control);
    await this.#call({ type: "attach", group: id, controls, bus, memory, vmFd });
  }

  /** @internal Lets go of a VM. */
  async detach(group: VcpuGroup): Promise<void> {
    for (const [id, candidate] of this.#groups) {
      if (candidate !== group) continue;
      this.#groups.delete(id);
      await this.#call({ type: "detach", group: id });
    }
  }

  /** Runs a service in this thread. */
  async serve(description: ServiceDescription, listener: ServiceListener = {}): Promise<ServiceHandle> {
    const service = ++this.#sequence;
    this.#services.set(service, listener);
    this.retain();
    try {
      await this.#call({ type: "serve", service, description });
    } catch (error) {
      this.#services.delete(service);
      await this.release();
      throw error;
    }
    let closing: Promise<void> | undefined;
    return {
      close: () => {
        closing ??= this.#call({ type: "unserve", service }).then(() => {
          this.#services.delete(service);
          return this.release();
        });
        return closing;
      },
    };
  }

  #close(): Promise<void> {
    this.#closed ??= (async () => {
      if (this.#isShared) DeviceThread.#shared = undefined;
      this.#post({ type: "stop" });
      await this.#released;
      this.#port.close();
      this.#wake.close();
    })();
    return this.#closed;
  }

  #call(command: Unnumbered<DeviceCommand>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.set(this.#post(command), { resolve, reject });
    });
  }

  #post(command: Unnumbered<DeviceCommand>): number {
    const sequence = ++this.#sequence;
    this.#port.postMessage({ ...command, sequence });
    signalEventfd(this.#wake);
    return sequence;
  }

  #receive(reply: DeviceReply): void {
    if (reply.type === "done" || reply.type === "refused") {
      const waiter = this.#pending.get(reply.sequence);
      this.#pending.delete(reply.sequence);
      if (reply.type === "done") waiter?.resolve();
      else waiter?.reject(new BatonError(reply.error.code, reply.error.message));
      return;
    }
    if (reply.type === "event") {
      this.#groups.get(reply.group)?.threads[0]?.emit("device", reply.event);
      return;
    }
    if (reply.type === "service-event") {
      this.#services.get(reply.service)?.onEvent?.(reply.event);
      return;
    }
    const error = new BatonError(reply.error.code, reply.error.message);
    this.#groups.get(reply.group)?.threads[0]?.emit("failed", error);
    this.#services.get(reply.service)?.onFailed?.(error);
  }
}
