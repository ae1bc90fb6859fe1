import { BatonError, throwIfAborted } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Bus } from "../bus/bus.js";
import { DeviceThread } from "../device-thread/device-thread.js";
import type { Vm } from "../vm.js";
import { VcpuThread } from "./vcpu-thread.js";

/** Options of {@link VcpuGroup.pause}. */
export interface PauseOptions {
  /** How long to wait for accesses that the embedder's handlers have not answered; 2,000 ms unless said otherwise. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const PAUSE_TIMEOUT_MS = 2000;

/** All vCPUs of a VM with their threads: started, paused and resumed together. */
export class VcpuGroup {
  readonly threads: readonly VcpuThread[];
  readonly #deviceThreads: ReadonlySet<DeviceThread>;
  #running = false;
  #closing: Promise<void> | undefined;

  private constructor(threads: readonly VcpuThread[], deviceThreads: ReadonlySet<DeviceThread>) {
    this.threads = threads;
    this.#deviceThreads = deviceThreads;
    for (const thread of threads) thread.once("failed", () => {});
  }

  /** Gives every vCPU of the VM a thread; they are paused. The bus must be complete. */
  static async start(vm: Vm, bus: Bus, memory: GuestMemory, deviceThread?: DeviceThread): Promise<VcpuGroup> {
    const own = bus.devices.some((device) => device.handler.thread === "device");
    const loader = own ? (deviceThread?.retain() ?? (await DeviceThread.shared())) : undefined;
    const answering = bus.devices.map(({ handler }) => {
      if (handler.thread === "service") return handler.service.thread;
      return handler.thread === "device" ? loader : undefined;
    });
    const deviceThreads = new Set(answering.filter((thread) => thread !== undefined));
    for (const thread of deviceThreads) if (thread !== loader) thread.retain();
    const wakeFds = answering.map((thread) => thread?.wakeFd ?? -1);
    const starts = await Promise.allSettled(vm.vcpus.map((vcpu) => VcpuThread.start({ vcpu, bus, memory, wakeFds })));
    const threads = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const failed = starts.find((start) => start.status === "rejected");
    const group = new VcpuGroup(threads, deviceThreads);
    if (failed !== undefined) {
      await group.close();
      throw failed.reason;
    }
    try {
      for (const thread of deviceThreads) await thread.attach(group, { vm, bus, memory, loads: thread === loader });
    } catch (error) {
      await group.close();
      throw error;
    }
    return group;
  }

  /** Whether the vCPUs have been told to run. */
  get running(): boolean {
    return this.#running;
  }

  /** Lets all vCPUs run. */
  resume(): void {
    this.#running = true;
    for (const thread of this.threads) thread.resume();
  }

  /**
   * Stops all vCPUs together; resolves when each has left the guest with its last exit complete.
   * Fails with `PAUSE_TIMEOUT`, naming the access that was not answered, and with the signal's reason on abort; the vCPUs
   * then run on, if they ran before.
   */
  async pause(options: PauseOptions = {}): Promise<void> {
    throwIfAborted(options.signal);
    const wasRunning = this.#running;
    const paused = Promise.all(this.threads.map((thread) => thread.requestPause()));
    const timeoutMs = options.timeoutMs ?? PAUSE_TIMEOUT_MS;
    let timer: NodeJS.Timeout | undefined;
    let onAbort = () => {};
    const given = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#timedOut(timeoutMs)), timeoutMs);
      onAbort = () => reject(options.signal?.reason);
      options.signal?.addEventListener("abort", onAbort, { once: true });
    });
    try {
      await Promise.race([paused, given]);
      this.#running = false;
    } catch (error) {
      if (wasRunning) this.resume();
      throw error;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    }
  }

  #timedOut(timeoutMs: number): BatonError {
    const waiting = this.threads.flatMap((thread) => {
      const access = thread.pendingAccess;
      return access === null ? [] : [{ vcpu: thread.vcpu.id, ...access }];
    });
    const [first] = waiting;
    const what =
      first === undefined
        ? "a vCPU did not leave the guest"
        : `vCPU ${first.vcpu} waits for ${first.device} to answer ${first.space} 0x${first.address.toString(16)}`;
    return new BatonError("PAUSE_TIMEOUT", `The VM could not be paused within ${timeoutMs} ms: ${what}`, {
      hint: "The VM runs on; the named handler has to answer before it can be paused",
      details: { waiting },
    });
  }

  /** Ends all vCPU threads; the vCPUs stay open. May be called again. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#running = false;
      await Promise.all(this.threads.map((thread) => thread.close()));
      for (const thread of this.#deviceThreads) {
        await thread.detach(this);
        await thread.release();
      }
    })();
    return this.#closing;
  }
}
