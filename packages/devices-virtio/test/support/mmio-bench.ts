import type { Service } from "@baton/core-kvm";
import { drainEventfd, Epoll, eventfd, type Fd } from "@baton/linux";
import { GuestMemory, RamBlock } from "@baton/memory";
import { transportFeatures } from "../../src/device/features.js";
import type { QueueFeatures, QueueLayout, VirtioEvent, VirtioState } from "../../src/index.js";
import { type VirtioServiceOptions, virtioMmioService } from "../../src/transport/mmio/service.js";
import { Driver } from "./driver.js";
import { throughSections } from "./through-sections.js";

/** RAM of a bench: from here on, so many bytes. */
export const BENCH_BASE = 0x10_0000;
export const BENCH_RAM = 0x400_0000;
/** Where each queue's rings and tables stand; buffers are the test's, from `BENCH_BUFFERS` on. */
const QUEUE_BYTES = 0x10_0000;
export const BENCH_BUFFERS = BENCH_BASE + 0x100_0000;

const STATUS_READY = 0x0f;

/** What a bench is made of. */
export interface MmioBenchOptions {
  /** The module and name of the device's factory, with its options. */
  readonly module: string;
  readonly factory: string;
  readonly options: unknown;
  /** How many queues the device has. */
  readonly queues: number;
  /** RAM of another bench, for a device that takes over. */
  readonly block?: RamBlock;
}

/** A device on its virtio-mmio service with a driver beside it, all in this thread: the test turns the crank. */
export class MmioBench {
  readonly block: RamBlock;
  readonly memory: GuestMemory;
  readonly events: VirtioEvent[] = [];
  drivers: Driver[] = [];
  interrupts = 0;
  readonly #options: MmioBenchOptions;
  readonly #doorbells: readonly Fd[];
  readonly #interrupt: Fd;
  readonly #shared = new SharedArrayBuffer(64);
  readonly #epoll = new Epoll();
  readonly #ready = new Uint32Array(64);
  readonly #watches = new Map<number, (events: number) => void>();
  #deferred: (() => void)[] = [];
  #service: Service | undefined;
  #token = 1;

  private constructor(options: MmioBenchOptions) {
    this.#options = options;
    this.block = options.block ?? RamBlock.create({ id: "ram", size: BigInt(BENCH_RAM) });
    this.memory = GuestMemory.create([{ gpa: BigInt(BENCH_BASE), block: this.block }]);
    this.#doorbells = Array.from({ length: options.queues }, () => eventfd({ nonblock: true }));
    this.#interrupt = eventfd({ nonblock: true });
  }

  static async make(options: MmioBenchOptions): Promise<MmioBench> {
    const bench = new MmioBench(options);
    const { module, factory } = options;
    const service: VirtioServiceOptions = {
      id: "bench",
      memory: bench.memory.describe(),
      device: { module, factory, options: options.options },
      rings: {},
      doorbells: bench.#doorbells.map((fd) => fd.raw),
      interrupt: bench.#interrupt.raw,
      shared: bench.#shared,
    };
    bench.#service = await virtioMmioService({
      options: service,
      watch: (fd, events, onReady) => bench.#watch(fd, events, onReady),
      defer: (work) => bench.#deferred.push(work),
      poll: () => () => {},
      emit: (event) => bench.events.push(event as VirtioEvent),
    });
    return bench;
  }

  #watch(fd: number, events: number, onReady: (events: number) => void): () => void {
    const token = this.#token++;
    this.#epoll.add(fd, events, token);
    this.#watches.set(token, onReady);
    return () => {
      if (this.#watches.delete(token)) this.#epoll.delete(fd);
    };
  }

  call(method: string, args?: unknown): unknown {
    return this.#service?.call?.(method, args);
  }

  command(name: string, args: unknown = {}): unknown {
    return this.call("command", { name, args });
  }

  read(offset: number, size: 1 | 2 | 4 = 4): number {
    return this.#service?.bus?.read(offset, size) as number;
  }

  write(offset: number, value: number, size: 1 | 2 | 4 = 4): void {
    this.#service?.bus?.write(offset, size, value);
  }

  get status(): number {
    return this.read(0x70);
  }

  /** Everything that is offered. */
  get offered(): bigint {
    this.write(0x14, 0);
    const low = this.read(0x10);
    this.write(0x14, 1);
    return BigInt(low) | (BigInt(this.read(0x10)) << 32n);
  }

  /** Brings the driver up with these features, its queues of at most `size` descriptors on the given numbers. */
  start(device: bigint, rings: QueueFeatures, queues: readonly number[], size = 64): void {
    const kinds = { packed: rings.packed, indirect: rings.indirect, eventIndex: rings.eventIndex };
    const features = device | transportFeatures({ ...kinds, inOrder: false });
    this.write(0x70, 0);
    this.write(0x70, 3);
    for (const half of [0, 1]) {
      this.write(0x24, half);
      this.write(0x20, Number((features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.write(0x70, 0x0b);
    if ((this.status & 8) === 0) throw new Error("the features are refused");
    this.drivers = [];
    for (const queue of queues) {
      const base = BENCH_BASE + queue * QUEUE_BYTES;
      this.write(0x30, queue);
      const driver = new Driver(this.memory, rings, base, Math.min(size, this.read(0x34)), base + QUEUE_BYTES / 2);
      this.drivers[queue] = driver;
      this.#setQueue(driver.rings.layout);
    }
    this.write(0x70, STATUS_READY);
  }

  /** Tells the device of the queue that is selected. */
  #setQueue(layout: QueueLayout): void {
    this.write(0x38, layout.size);
    for (const [at, address] of [
      [0x80, layout.desc],
      [0x90, layout.driver],
      [0xa0, layout.device],
    ] as const) {
      this.write(at, Number(address & 0xffff_ffffn));
      this.write(at + 4, Number(address >> 32n));
    }
    this.write(0x44, 1);
  }

  /** Makes what was added to a queue visible, and rings the doorbell if the device wants it. */
  kick(queue: number): boolean {
    const wanted = this.drivers[queue]?.rings.publish() ?? false;
    if (wanted) this.write(0x50, queue);
    return wanted;
  }

  /** One turn of the thread: whether there was something to do. */
  turn(timeoutMs = 0): boolean {
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const work of deferred) work();
    const count = this.#epoll.wait(32, deferred.length > 0 ? 0 : timeoutMs, this.#ready);
    for (let i = 0; i < count; i++) {
      this.#watches.get(this.#ready[2 * i] as number)?.(this.#ready[2 * i + 1] as number);
    }
    this.interrupts += Number(drainEventfd(this.#interrupt));
    return count > 0 || deferred.length > 0;
  }

  /** Turns until nothing is to be done; how many turns. Throws for a device that never rests. */
  settle(most = 1000): number {
    for (let turns = 0; turns < most; turns++) if (!this.turn()) return turns;
    throw new Error(`the device is busy after ${most} turns`);
  }

  /** Quiesces and saves; the state has gone through its sections. */
  save(): VirtioState {
    this.call("quiesce");
    return throughSections(structuredClone(this.call("save")) as VirtioState);
  }

  /** A second device on the same RAM and driver takes the state of this one, which is closed. */
  async moved(state: VirtioState, changes: Partial<MmioBenchOptions> = {}): Promise<MmioBench> {
    const next = await MmioBench.make({ ...this.#options, block: this.block, ...changes });
    next.drivers = this.drivers;
    next.call("load", state);
    this.call("give-state");
    this.close(false);
    return next;
  }

  close(withRam = true): void {
    this.#service?.close();
    this.#epoll.close();
    for (const fd of [this.#interrupt, ...this.#doorbells]) fd.close();
    this.memory.close();
    if (withRam) this.block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
