import type { Service, ServiceContext } from "@baton/core-kvm";
import { drainEventfd, EPOLLIN, signalEventfd } from "@baton/linux";
import { GuestMemory, type GuestMemoryDescriptor } from "@baton/memory";
import type { KernelNotifiers, VirtioDevice, VirtioDeviceContext, VirtioDeviceFactory } from "../../device/device.js";
import { type RingFeatures, transportFeatures } from "../../device/features.js";
import { ISR_CONFIG, ISR_QUEUE } from "../../device/status.js";
import type { QueueError } from "../../queue/errors.js";
import type { VirtQueue } from "../../queue/queue.js";
import { VirtioCore } from "../core.js";
import { sharedWord } from "./interrupt-status.js";
import { MmioRegisters } from "./registers.js";

/** What the service of a device is told. */
export interface VirtioServiceOptions {
  readonly id: string;
  readonly memory: GuestMemoryDescriptor;
  readonly device: { readonly module: string; readonly factory: string; readonly options: unknown };
  readonly rings: RingFeatures;
  /** Eventfds, one for each queue. */
  readonly doorbells: readonly number[];
  /** The eventfd that raises the interrupt. */
  readonly interrupt: number;
  /** The interrupt status, see {@link sharedWord}. */
  readonly shared: SharedArrayBuffer;
}

/** What a service is told of the device that takes the place of its own, of the same factory. */
export interface VirtioReplacement {
  readonly id: string;
  readonly options: unknown;
  readonly rings: RingFeatures;
}

/** What a quiesced device left undone, for tests and statistics. */
export interface QuiesceReport {
  /** Queues whose doorbell had been rung and not been answered. */
  readonly unreadDoorbells: number;
  /** Whether the driver has not acknowledged an interrupt. */
  readonly unacknowledged: boolean;
}

/** A virtio-mmio device in its device thread. */
export async function virtioMmioService(context: ServiceContext): Promise<Service> {
  const options = context.options as VirtioServiceOptions;
  const code = (await import(options.device.module)) as Record<string, VirtioDeviceFactory | undefined>;
  const factory = code[options.device.factory];
  if (factory === undefined) throw new Error(`${options.device.module} has no ${options.device.factory}`);
  return new VirtioMmioService(context, options, factory);
}

class VirtioMmioService implements Service {
  readonly bus: MmioRegisters;
  readonly #context: ServiceContext;
  readonly #options: VirtioServiceOptions;
  readonly #memory: GuestMemory;
  readonly #shared: Int32Array;
  readonly #factory: VirtioDeviceFactory;
  readonly #core: VirtioCore;
  /** Ends of the watches of doorbells, by queue. */
  readonly #watches = new Map<number, () => void>();
  /** Queues whose notifiers the kernel has. */
  readonly #handedOver = new Set<number>();
  readonly #again = new Set<number>();
  /** Queues on which a buffer means work. */
  #working: ReadonlySet<number> = new Set();
  /** Queues of these that the device has left with work in them. */
  readonly #held = new Set<number>();
  /** Whether the thread polls at the moment. */
  #polling = false;
  #endPoll: (() => void) | undefined;
  /** Between `quiesce` and `resume`: nothing is served. */
  #quiesced = false;
  /** A state has been loaded and nothing been served since. */
  #loaded = false;
  /** Another device goes on with the state. */
  #stateGiven = false;

  constructor(context: ServiceContext, options: VirtioServiceOptions, factory: VirtioDeviceFactory) {
    this.#context = context;
    this.#options = options;
    this.#memory = GuestMemory.attach(options.memory);
    this.#shared = new Int32Array(options.shared);
    this.#factory = factory;
    const device = factory(this.#deviceContext(options.id), options.device.options);
    this.#core = new VirtioCore(options.id, device, this.#memory, transportFeatures(options.rings), {
      configInterrupt: () => this.#configInterrupt(),
      broken: (error) => this.#broken(error),
      activated: (queues) => this.#activated(queues),
      deactivated: () => this.#deactivated(),
    });
    this.bus = new MmioRegisters(this.#core, (queue) => this.#kick(queue));
  }

  call(method: string, args: unknown): unknown {
    switch (method) {
      case "quiesce":
        return this.#quiesce();
      case "save":
        return this.#core.save(Atomics.load(this.#shared, sharedWord.status), this.bus.save());
      case "load":
        return this.#load(args);
      case "resume":
        return this.#resume();
      case "reset":
        return this.#core.reset();
      case "replace":
        return this.#replace(args as VirtioReplacement);
      case "give-state":
        this.#stateGiven = true;
        return null;
      case "refresh":
        return this.#refresh(args as GuestMemoryDescriptor);
      case "command": {
        const { name, args: values } = args as { readonly name: string; readonly args: unknown };
        return this.#device.command?.(name, values);
      }
      default:
        throw new Error(`${this.#options.id}: no method ${method}`);
    }
  }

  close(): void {
    this.#deactivated();
    this.#device.close(this.#stateGiven);
  }

  get #device(): VirtioDevice {
    return this.#core.device;
  }

  #deviceContext(id: string): VirtioDeviceContext {
    const context = this.#context;
    return {
      id,
      memory: this.#memory,
      interrupt: () => this.#interrupt(ISR_QUEUE),
      configChanged: () => this.#configChanged(),
      needsReset: (error) => this.#core.needsReset(error),
      again: (queue) => this.#putOff(queue),
      watch: (fd, events, onReady) => context.watch(fd, events, (ready) => this.#core.guard(() => onReady(ready))),
      defer: (work) => context.defer(() => this.#core.guard(work)),
      emit: (event) => context.emit(event),
      handOver: (queue) => this.#handOver(queue),
      takeBack: (queue) => this.#takeBack(queue),
    };
  }

  #interrupt(bits: number): void {
    Atomics.or(this.#shared, sharedWord.status, bits);
    signalEventfd(this.#options.interrupt);
  }

  #configChanged(): void {
    this.#core.configGeneration = (this.#core.configGeneration + 1) >>> 0;
    if (this.#core.live) this.#configInterrupt();
  }

  #configInterrupt(): void {
    this.#interrupt(ISR_CONFIG);
  }

  #broken(error: QueueError): void {
    this.#context.emit({ name: "needs-reset", data: { reason: error.reason, message: error.message } });
  }

  #activated(queues: readonly VirtQueue[]): void {
    for (const queue of queues) if (queue.ready) this.#watchDoorbell(queue.index);
    this.#working = new Set(this.#device.workQueues);
    const polled = queues.filter((queue) => queue.ready && this.#working.has(queue.index));
    if (polled.length === 0) return;
    this.#endPoll = this.#context.poll({
      begin: () => {
        if (this.#quiesced) return;
        this.#polling = true;
        for (const queue of polled) queue.setNotification(false);
      },
      poll: () => this.#poll(polled),
      end: () => this.#endPolling() && this.#poll(polled),
    });
  }

  /** Asks for doorbells again; whether there is work that came before that. */
  #endPolling(): boolean {
    if (!this.#polling) return false;
    this.#polling = false;
    let waiting = false;
    for (const index of this.#working) {
      if (!this.#held.has(index) && this.#core.queues[index]?.setNotification(true)) waiting = true;
    }
    return waiting;
  }

  #poll(queues: readonly VirtQueue[]): boolean {
    if (this.#quiesced) return false;
    let worked = false;
    for (const queue of queues) {
      if (!queue.hasAvailable() || this.#held.has(queue.index)) continue;
      worked = true;
      this.#serve(queue);
    }
    return worked;
  }

  #deactivated(): void {
    this.#endServing();
    this.#handedOver.clear();
    this.#shared[sharedWord.always] = 0;
    Atomics.store(this.#shared, sharedWord.status, 0);
  }

  /** Looks at no queue any more. */
  #endServing(): void {
    this.#endPoll?.();
    this.#endPoll = undefined;
    for (const end of this.#watches.values()) end();
    this.#watches.clear();
    this.#again.clear();
    this.#held.clear();
    this.#polling = false;
  }

  #watchDoorbell(queue: number): void {
    const fd = this.#options.doorbells[queue] as number;
    if (this.#handedOver.has(queue) || this.#watches.has(queue)) return;
    const end = this.#context.watch(fd, EPOLLIN, () => {
      drainEventfd(fd);
      this.#kick(queue);
    });
    this.#watches.set(queue, end);
  }

  #kick(queue: number): void {
    if (!this.#quiesced) this.#notify(queue);
  }

  #notify(index: number): void {
    const queue = this.#core.queues[index];
    if (queue?.ready && this.#core.live && !this.#handedOver.has(index)) this.#serve(queue);
  }

  /** Lets the device take what there is; doorbells are silenced meanwhile, and while its thread polls. */
  #serve(queue: VirtQueue): void {
    this.#core.guard(() => {
      if (!this.#working.has(queue.index)) {
        this.#device.notify(queue);
        return;
      }
      do {
        if (!this.#polling) queue.setNotification(false);
        this.#held.delete(queue.index);
        if (!this.#device.notify(queue)) {
          this.#held.add(queue.index);
          return;
        }
      } while (!this.#polling && queue.setNotification(true));
    });
  }

  #putOff(queue: number): void {
    if (this.#again.has(queue)) return;
    this.#again.add(queue);
    this.#context.defer(() => {
      if (this.#again.delete(queue)) this.#kick(queue);
    });
  }

  #handOver(queue: number): KernelNotifiers {
    this.#handedOver.add(queue);
    this.#watches.get(queue)?.();
    this.#watches.delete(queue);
    this.#shared[sharedWord.always] = ISR_QUEUE;
    return { kick: this.#options.doorbells[queue] as number, call: this.#options.interrupt };
  }

  #takeBack(queue: number): void {
    this.#handedOver.delete(queue);
    if (this.#handedOver.size === 0) this.#shared[sharedWord.always] = 0;
    if (this.#core.live) this.#watchDoorbell(queue);
  }

  #quiesce(): QuiesceReport {
    if (!this.#quiesced) {
      this.#endPolling();
      this.#core.guard(() => this.#device.quiesce());
    }
    this.#quiesced = true;
    this.#again.clear();
    let unreadDoorbells = 0;
    for (const queue of this.#watches.keys()) {
      if (drainEventfd(this.#options.doorbells[queue] as number) > 0n) unreadDoorbells++;
    }
    return { unreadDoorbells, unacknowledged: Atomics.load(this.#shared, sharedWord.status) !== 0 };
  }

  #load(state: unknown): void {
    this.#quiesced = true;
    this.#loaded = true;
    const { interruptStatus, transport } = this.#core.load(state);
    this.bus.load(this.#options.id, transport);
    Atomics.store(this.#shared, sharedWord.status, interruptStatus);
    this.#device.quiesce();
  }

  /** Serves every queue as if its doorbell had been rung; after a load, an interrupt that was lost is raised again. */
  #resume(): void {
    if (!this.#quiesced) return;
    this.#quiesced = false;
    const loaded = this.#loaded;
    this.#loaded = false;
    // A queue's interrupt for a driver that has missed one; a configuration interrupt if that is what was lost.
    if (loaded) this.#interrupt(this.#core.live ? ISR_QUEUE : 0);
    this.#core.guard(() => this.#device.resume());
    for (const queue of this.#core.queues) this.#notify(queue.index);
  }

  /** Puts another device in the place of this one, and tells the driver that the configuration has changed. */
  #replace({ id, options, rings }: VirtioReplacement): void {
    const next = this.#factory(this.#deviceContext(id), options);
    this.#endPolling();
    try {
      this.#core.replace(next, { name: id, transportFeatures: transportFeatures(rings) });
    } catch (error) {
      next.close(true);
      throw error;
    }
    this.#endServing();
    if (this.#core.live) this.#activated(this.#core.queues);
    this.#configChanged();
    if (this.#quiesced) return;
    this.#core.guard(() => this.#device.resume());
    for (const queue of this.#core.queues) this.#notify(queue.index);
  }

  #refresh(memory: GuestMemoryDescriptor): void {
    this.#memory.refresh(memory);
    for (const queue of this.#core.queues) queue.refresh();
  }
}
