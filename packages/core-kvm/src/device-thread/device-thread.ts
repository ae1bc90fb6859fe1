import { MessageChannel, type MessagePort } from "node:worker_threads";
import { BatonError, eventfd, type Fd, signalEventfd } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Bus } from "../bus/bus.js";
import { type PooledThread, threadPool } from "../thread-pool/thread-pool.js";
import type { ErrorReport } from "../vcpu-thread/messages.js";
import type { VcpuGroup } from "../vcpu-thread/vcpu-group.js";
import type { Vm } from "../vm.js";
import type { DeviceCommand, DeviceReply, ServiceDescription } from "./messages.js";
import type { PollingOptions } from "./service.js";

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
  /** The thread in which it runs. */
  readonly thread: DeviceThread;
  /** Asks the service something; rejects with what it throws. Calls are answered in their order. */
  call(method: string, args?: unknown): Promise<unknown>;
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
  /** How it polls before it sleeps. */
  readonly polling: PollingOptions;
  readonly #thread: PooledThread;
  readonly #wake: Fd;
  readonly #port: MessagePort;
  readonly #pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: BatonError) => void }>();
  readonly #groups = new Map<number, VcpuGroup>();
  readonly #services = new Map<number, ServiceListener>();
  readonly #serviceIds = new WeakMap<ServiceHandle, number>();
  #sequence = 0;
  #tid = 0;
  #users = 0;
  #isShared = false;
  #closed: Promise<void> | undefined;
  #released: Promise<void>;

  private constructor(thread: PooledThread, polling: PollingOptions = NO_POLLING) {
    this.polling = polling;
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
      { role: "device", wakeFd: this.#wake.raw, polling, port: port2 },
      (message) => {
        const { type, tid } = message as { readonly type: string; readonly tid?: number };
        if (type === "tid") this.#tid = tid as number;
        if (type !== "released") return;
        threadPool.release(thread);
        released();
      },
      [port2],
    );
  }

  /** Starts a device thread of one's own; {@link release} ends it. */
  static async start(options: { readonly polling?: PollingOptions } = {}): Promise<DeviceThread> {
    return new DeviceThread(await threadPool.acquire(), options.polling).retain();
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

  /** The kernel's id of the thread; 0 until it has begun its work. */
  get tid(): number {
    return this.#tid;
  }

  /** The eventfd that vCPU threads signal when an access waits. */
  get wakeFd(): number {
    return this.#wake.raw;
  }

  /** @internal Takes on the devices of a VM that this thread answers for: its services' and, with `loads`, the others. */
  async attach(
    group: VcpuGroup,
    { vm, bus, memory, loads }: { vm: Vm; bus: Bus; memory: GuestMemory; loads: boolean },
  ): Promise<void> {
    const id = ++this.#sequence;
    this.#groups.set(id, group);
    await this.#call({
      type: "attach",
      group: id,
      controls: group.threads.map((thread) => thread.control),
      bus: bus.describe(),
      memory: memory.describe(),
      vmFd: vm.fd.raw,
      services: bus.devices.map(({ handler }) =>
        handler.thread === "service" ? (this.#serviceIds.get(handler.service) ?? -1) : -1,
      ),
      loads,
    });
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
    let closing: Promise<unknown> | undefined;
    const handle: ServiceHandle = {
      thread: this,
      call: (method, args) => {
        if (closing !== undefined) return Promise.reject(new BatonError("SERVICE_CLOSED", `${method}: service closed`));
        return this.#call({ type: "call", service, method, args });
      },
      close: async () => {
        closing ??= this.#call({ type: "unserve", service }).then(() => {
          this.#services.delete(service);
          return this.release();
        });
        await closing;
      },
    };
    this.#serviceIds.set(handle, service);
    return handle;
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

  #call(command: Unnumbered<DeviceCommand>): Promise<unknown> {
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
      if (reply.type === "done") waiter?.resolve(reply.value);
      else waiter?.reject(receiveError(reply.error));
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
    const error = receiveError(reply.error);
    this.#groups.get(reply.group)?.threads[0]?.emit("failed", error);
    this.#services.get(reply.service)?.onFailed?.(error);
  }
}

const NO_POLLING: PollingOptions = { maxNs: 0 };

function receiveError({ code, message, details }: ErrorReport): BatonError {
  return new BatonError(code, message, details === undefined ? {} : { details });
}
