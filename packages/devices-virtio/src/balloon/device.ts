import { BatonError, drainEventfd, EPOLLIN, timerfdCreate, timerfdSettime } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { bit, hasBit } from "../device/features.js";
import { StateReader } from "../device/state.js";
import type { Chain, ChainState } from "../queue/chain.js";
import type { VirtQueue } from "../queue/queue.js";
import { BALLOON_PAGE, discardRange, pageRanges } from "./pages.js";
import { type BalloonStatistics, parseStatistics, readStatistics, STATISTICS_BYTES } from "./statistics.js";

/** Feature bits of a balloon (virtio 1.2, 5.5.3). */
const VIRTIO_BALLOON_F_STATS_VQ = 1;
const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2;
const VIRTIO_BALLOON_F_PAGE_REPORTING = 5;

/** Places in the configuration space (5.5.4). */
const CONFIG_NUM_PAGES = 0;
const CONFIG_ACTUAL = 4;
const CONFIG_BYTES = 16;

/** What the device's half in its thread is made with. */
export interface BalloonDeviceOptions {
  /** The guest's whole memory in bytes. */
  readonly ramBytes: number;
  /** Whether the guest takes pages back when it runs out of memory. */
  readonly deflateOnOom: boolean;
  /** Whether the guest reports pages that it does not use, to be given back at once. */
  readonly freePageReporting: boolean;
}

/** What a queue is for: which there are depends on the features that both sides have. */
type Role = "inflate" | "deflate" | "statistics" | "reporting";

/** Buffers served before other devices have their turn; each may hold many pages. */
const BUDGET = 16;
/** The most page numbers of one buffer that are looked at. */
const MAX_PAGES = 1 << 16;
/** How long changes of `actual` are gathered before they are told. */
const EVENT_DELAY_NS = 1_000_000_000n;

/** What `command("query")` answers. */
export interface BalloonInfo {
  /** Whether a driver is there. */
  readonly active: boolean;
  /** What the guest has now, in bytes. */
  readonly actual: number;
  /** What it shall have. */
  readonly target: number;
  /** Bytes given back to the host since the device was made, by the balloon and by reports. */
  readonly discarded: number;
  readonly statistics: BalloonStatistics;
  /** When the statistics came, in seconds since 1970; 0 before the first. */
  readonly lastUpdate: number;
}

/** A balloon (virtio 1.2, 5.5): the guest gives it pages, whose memory goes back to the host. */
export class BalloonDevice implements VirtioDevice {
  readonly deviceId = 5;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [128, 128, 32, 32];
  readonly workQueues: readonly number[] = [0, 1, 2, 3];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #data = new DataView(this.config.buffer);
  readonly #context: VirtioDeviceContext;
  readonly #options: BalloonDeviceOptions;
  readonly #changed = timerfdCreate();
  readonly #poll = timerfdCreate();
  readonly #endWatches: readonly (() => void)[];
  #queues: readonly VirtQueue[] = [];
  #roles: readonly Role[] = [];
  #statistics: BalloonStatistics = {};
  #lastUpdate = 0;
  /** The buffer that the driver gives for statistics: it comes back when new ones are wanted. */
  #held: Chain | undefined;
  #heldState: ChainState | undefined;
  #discarded = 0;
  #intervalSeconds = 0;

  constructor(context: VirtioDeviceContext, options: BalloonDeviceOptions) {
    this.#context = context;
    this.#options = options;
    let features = bit(VIRTIO_BALLOON_F_STATS_VQ);
    if (options.deflateOnOom) features |= bit(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
    if (options.freePageReporting) features |= bit(VIRTIO_BALLOON_F_PAGE_REPORTING);
    this.features = features;
    this.#endWatches = [
      context.watch(this.#changed.raw, EPOLLIN, () => {
        drainEventfd(this.#changed);
        this.#tellActual();
      }),
      context.watch(this.#poll.raw, EPOLLIN, () => {
        drainEventfd(this.#poll);
        this.#askForStatistics();
      }),
    ];
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset < CONFIG_ACTUAL || offset + bytes.length > CONFIG_ACTUAL + 4) return;
    this.config.set(bytes, offset);
    timerfdSettime(this.#changed, { value: EVENT_DELAY_NS });
  }

  start({ features, queues }: DriverReady): void {
    this.#queues = queues;
    // Drivers and devices number only the queues that exist with the features that both have.
    const roles: Role[] = ["inflate", "deflate"];
    if (hasBit(features, VIRTIO_BALLOON_F_STATS_VQ)) roles.push("statistics");
    if (hasBit(features, VIRTIO_BALLOON_F_PAGE_REPORTING)) roles.push("reporting");
    this.#roles = roles;
    if (this.#heldState !== undefined) {
      this.#held = this.#statisticsQueue?.restoreChain(this.#heldState);
      this.#heldState = undefined;
    }
    this.#armPoll();
  }

  notify(queue: VirtQueue): boolean {
    const role = this.#roles[queue.index];
    for (let budget = BUDGET; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === null) {
        if (queue.needsNotification()) this.#context.interrupt(queue.index);
        return true;
      }
      if (role === "statistics") this.#takeStatistics(queue, chain);
      else {
        if (role === "inflate") this.#inflate(chain);
        else if (role === "reporting") this.#takeReport(chain);
        queue.push(chain, 0);
      }
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    this.#context.again(queue.index);
    return false;
  }

  reset(): void {
    this.#queues = [];
    this.#roles = [];
    this.#held = undefined;
    this.#heldState = undefined;
    this.#data.setUint32(CONFIG_ACTUAL, 0, true);
    this.quiesce();
  }

  quiesce(): void {
    timerfdSettime(this.#changed, { value: 0n });
    timerfdSettime(this.#poll, { value: 0n });
  }

  resume(): void {
    this.#armPoll();
  }

  save(): BalloonState {
    return {
      target: this.#data.getUint32(CONFIG_NUM_PAGES, true),
      actual: this.#data.getUint32(CONFIG_ACTUAL, true),
      statistics: this.#statistics,
      lastUpdate: this.#lastUpdate,
      held: this.#held?.save() ?? null,
    };
  }

  load(state: unknown): void {
    const reader = new StateReader(this.#context.id, state, "device");
    this.#data.setUint32(CONFIG_NUM_PAGES, reader.integer("target", 0, 0xffff_ffff), true);
    this.#data.setUint32(CONFIG_ACTUAL, reader.integer("actual", 0, 0xffff_ffff), true);
    this.#lastUpdate = reader.integer("lastUpdate", 0, Number.MAX_SAFE_INTEGER);
    this.#statistics = readStatistics(reader.object("statistics"));
    const held = reader.raw("held");
    // The queue checks what is in it.
    if (held !== null) reader.object("held");
    this.#heldState = held === null ? undefined : (held as ChainState);
  }

  command(name: string, args: unknown): unknown {
    switch (name) {
      case "query":
        return this.#info();
      case "set":
        return this.#setTarget((args as { readonly bytes: number }).bytes);
      case "statistics-interval":
        this.#intervalSeconds = (args as { readonly seconds: number }).seconds;
        this.#armPoll();
        return null;
      default:
        throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a balloon has no command '${name}'`);
    }
  }

  close(): void {
    for (const end of this.#endWatches) end();
    this.#changed.close();
    this.#poll.close();
  }

  get #statisticsQueue(): VirtQueue | undefined {
    const index = this.#roles.indexOf("statistics");
    return index < 0 ? undefined : this.#queues[index];
  }

  get #actualBytes(): number {
    return Math.max(0, this.#options.ramBytes - this.#data.getUint32(CONFIG_ACTUAL, true) * BALLOON_PAGE);
  }

  #info(): BalloonInfo {
    return {
      active: this.#queues.length > 0,
      actual: this.#actualBytes,
      target: this.#options.ramBytes - this.#data.getUint32(CONFIG_NUM_PAGES, true) * BALLOON_PAGE,
      discarded: this.#discarded,
      statistics: this.#statistics,
      lastUpdate: this.#lastUpdate,
    };
  }

  #setTarget(bytes: number): number {
    const target = Math.min(Math.max(0, bytes), this.#options.ramBytes);
    this.#data.setUint32(CONFIG_NUM_PAGES, Math.floor((this.#options.ramBytes - target) / BALLOON_PAGE), true);
    this.#context.configChanged();
    this.#tellActual();
    return target;
  }

  #tellActual(): void {
    this.#context.emit({ name: "balloon-changed", data: { actual: this.#actualBytes } });
  }

  #inflate(chain: Chain): void {
    const count = Math.min(Math.floor(chain.readableLength / 4), MAX_PAGES);
    const pages = new Uint32Array(count);
    chain.read(new Uint8Array(pages.buffer));
    for (const { gpa, length } of pageRanges(pages)) {
      this.#discarded += discardRange(this.#context.memory, gpa, length);
    }
  }

  /** The buffers of a report are the free pages themselves. */
  #takeReport(chain: Chain): void {
    for (const { gpa, length } of chain.writable) {
      const start = Math.ceil(gpa / BALLOON_PAGE) * BALLOON_PAGE;
      const end = Math.floor((gpa + length) / BALLOON_PAGE) * BALLOON_PAGE;
      if (end > start) this.#discarded += discardRange(this.#context.memory, start, end - start);
    }
  }

  #takeStatistics(queue: VirtQueue, chain: Chain): void {
    const bytes = new Uint8Array(Math.min(chain.readableLength, STATISTICS_BYTES));
    chain.read(bytes);
    // The first buffer is empty on some drivers: it is there to be asked with.
    if (bytes.length > 0) {
      this.#statistics = parseStatistics(bytes);
      this.#lastUpdate = Math.floor(Date.now() / 1000);
      this.#context.emit({ name: "statistics", data: this.#statistics });
    }
    if (this.#held !== undefined) queue.push(this.#held, 0);
    this.#held = chain;
    this.#armPoll();
  }

  #armPoll(): void {
    const value = BigInt(Math.round(this.#intervalSeconds * 1e9));
    timerfdSettime(this.#poll, { value: this.#held === undefined ? 0n : value });
  }

  #askForStatistics(): void {
    const queue = this.#statisticsQueue;
    if (this.#held === undefined || queue === undefined) return;
    queue.push(this.#held, 0);
    this.#held = undefined;
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
  }
}

/** What the device saves. */
export interface BalloonState {
  /** Pages that the guest shall give. */
  readonly target: number;
  /** Pages that it has given. */
  readonly actual: number;
  readonly statistics: BalloonStatistics;
  readonly lastUpdate: number;
  /** The buffer that statistics are asked with. */
  readonly held: ChainState | null;
}

/** The factory that the device's service calls. */
export function createBalloonDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new BalloonDevice(context, options as BalloonDeviceOptions);
}
