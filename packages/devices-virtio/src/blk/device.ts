import { BatonError, EINVAL, ENOSPC, errnoName, IoVector } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { bit, hasBit } from "../device/features.js";
import { RateLimit, type RateLimitOptions } from "../device/rate-limit.js";
import { StateReader } from "../device/state.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import {
  BLK_ID_BYTES,
  BLK_MAX_RANGE_SECTORS,
  BLK_MAX_RANGES,
  blkConfig,
  CONFIG_WRITEBACK,
  SECTOR,
  setCapacity,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
} from "./config.js";
import type { BlockImage } from "./image/image.js";
import { type ImageOptions, openImage } from "./image/open.js";
import {
  type BlkOperation,
  HEADER_BYTES,
  parseRanges,
  RANGE_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from "./request.js";
import { BlkStatistics } from "./statistics.js";
import { TransferRun } from "./transfer-run.js";

/** What a failed request leads to, as QEMU's `rerror` and `werror`. `enospc` stops for a full disk, else reports. */
export type ErrorPolicy = "report" | "ignore" | "enospc" | "stop";

/** What the device's half in its thread is made with. */
export interface BlkDeviceOptions {
  readonly image: ImageOptions;
  /** The image's path, and whether it is read past the page cache: for queries. */
  readonly path: string;
  readonly direct: boolean;
  readonly readOnly: boolean;
  readonly queues: number;
  readonly queueSize: number;
  readonly serial: string;
  /** Whether discards reach the image; a guest may send them either way. */
  readonly discard: boolean;
  readonly readError: ErrorPolicy;
  readonly writeError: ErrorPolicy;
  readonly limits: RateLimitOptions;
}

/** Requests served before other devices have their turn. */
const BUDGET = 64;

/** What became of a request: an error number of the host, a status of its own, or not served now. */
type Outcome = { readonly errno: number } | { readonly status: number } | "later";

const DONE = { status: VIRTIO_BLK_S_OK } as const;
const SUCCESS = Uint8Array.of(VIRTIO_BLK_S_OK);
const REFUSED = { status: VIRTIO_BLK_S_IOERR } as const;
const UNSUPPORTED = { status: VIRTIO_BLK_S_UNSUPP } as const;

/** A block device (virtio 1.2, 5.2). Requests are carried out as they are popped, so none is ever in flight between two calls. */
export class BlkDevice implements VirtioDevice {
  readonly deviceId = 2;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly workQueues: readonly number[];
  readonly config: Uint8Array;
  readonly #context: VirtioDeviceContext;
  readonly #options: BlkDeviceOptions;
  readonly #image: BlockImage;
  readonly #limit: RateLimit;
  readonly #statistics = new BlkStatistics();
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #headerWords = new Uint32Array(this.#header.buffer);
  readonly #status = new Uint8Array(1);
  /** For requests of more pieces than a call takes, and those that failed in a run. */
  readonly #vector = new IoVector();
  readonly #run = new TransferRun();
  /** Of the header read last. */
  #sector = 0;
  #queues: readonly VirtQueue[] = [];
  /** Whether the driver knows of the write cache: without FLUSH every write is durable before it is answered. */
  #cached = false;
  /** An error has stopped the VM: nothing is served until it is resumed. */
  #stopped = false;

  constructor(context: VirtioDeviceContext, options: BlkDeviceOptions) {
    this.#context = context;
    this.#options = options;
    this.#image = openImage(options.image);
    const { queues, queueSize } = options;
    this.queueSizes = Array.from({ length: queues }, () => queueSize);
    this.workQueues = this.queueSizes.map((_, i) => i);
    this.config = blkConfig({
      size: this.#image.size,
      logicalBlockSize: this.#image.logicalBlockSize,
      physicalBlockSize: Math.max(this.#image.physicalBlockSize, this.#image.logicalBlockSize),
      queues,
      queueSize,
    });
    let features = bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_TOPOLOGY);
    features |= bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE);
    if (queues > 1) features |= bit(VIRTIO_BLK_F_MQ);
    if (options.readOnly) features |= bit(VIRTIO_BLK_F_RO);
    else features |= bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
    this.features = features;
    this.#limit = new RateLimit(options.limits, context, () => this.#goOn());
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset === CONFIG_WRITEBACK && bytes.length === 1) this.#setWriteback(bytes[0] === 1);
  }

  start({ features, queues }: DriverReady): void {
    this.#queues = queues;
    this.#cached = hasBit(features, VIRTIO_BLK_F_FLUSH);
    if (!hasBit(features, VIRTIO_BLK_F_CONFIG_WCE)) this.config[CONFIG_WRITEBACK] = this.#cached ? 1 : 0;
  }

  notify(queue: VirtQueue): boolean {
    if (this.#stopped) return false;
    this.#run.clear();
    const taken = this.#take(queue);
    const carriedOut = this.#carryOut(queue);
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    if (taken === "budget" && carriedOut) this.#context.again(queue.index);
    return taken === "all" && carriedOut;
  }

  reset(): void {
    this.#queues = [];
    this.#stopped = false;
    this.config[CONFIG_WRITEBACK] = 1;
    this.#run.clear();
    this.#limit.stop();
  }

  quiesce(): void {
    this.#limit.stop();
  }

  resume(): void {
    this.#stopped = false;
  }

  save(): BlkState {
    return { capacity: this.#image.size, writeback: this.config[CONFIG_WRITEBACK] === 1 };
  }

  load(state: unknown): void {
    const reader = new StateReader(this.#context.id, state, "device");
    const capacity = reader.integer("capacity", 0, Number.MAX_SAFE_INTEGER);
    if (capacity > this.#image.size) {
      throw reader.error("capacity", `the guest's disk has ${capacity} bytes, the image ${this.#image.size}`);
    }
    setCapacity(this.config, capacity);
    this.config[CONFIG_WRITEBACK] = reader.boolean("writeback") ? 1 : 0;
  }

  command(name: string, args: unknown): unknown {
    if (name === "statistics") return this.#statistics.save();
    if (name === "info") return this.#info();
    if (name === "resize") {
      const size = this.#image.resize((args as { readonly size?: number }).size);
      setCapacity(this.config, size);
      this.#context.configChanged();
      return size;
    }
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a block device has no command '${name}'`);
  }

  close(): void {
    this.#limit.close();
    if (!this.#options.readOnly) this.#image.flush();
    this.#image.close();
  }

  #info(): BlkInfo {
    const { path, readOnly, direct } = this.#options;
    return { size: this.#image.size, writeback: this.#writeback, readOnly, direct, path };
  }

  get #writeback(): boolean {
    return this.#cached && this.config[CONFIG_WRITEBACK] === 1;
  }

  /** A cache that is turned off keeps nothing back. */
  #setWriteback(on: boolean): void {
    this.config[CONFIG_WRITEBACK] = on ? 1 : 0;
    if (!on && !this.#options.readOnly) this.#image.flush();
  }

  #goOn(): void {
    for (const queue of this.#queues) if (queue.ready) this.#context.again(queue.index);
  }

  /** Takes requests and answers them, but for a last run of transfers: how far it came. */
  #take(queue: VirtQueue): "all" | "budget" | "waits" {
    for (let budget = BUDGET; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === null) return "all";
      const type = this.#parse(queue, chain);
      const transfer = this.#transfer(type, chain);
      if (transfer === "later") {
        queue.unpop(chain);
        return "waits";
      }
      if (typeof transfer === "number") {
        const offset = this.#sector * SECTOR;
        const reads = type === VIRTIO_BLK_T_IN;
        if (this.#run.add(chain, reads, offset, transfer)) continue;
        if (!this.#carryOut(queue, chain)) return "waits";
        this.#run.add(chain, reads, offset, transfer);
        continue;
      }
      if (!this.#carryOut(queue, chain)) return "waits";
      const outcome = transfer ?? this.#perform(type, chain);
      if (outcome === "later" || !this.#answer(queue, chain, type, outcome)) {
        queue.unpop(chain);
        return "waits";
      }
    }
    return "budget";
  }

  /** Reads a request's header: its type; `#sector` is where. */
  #parse(queue: VirtQueue, chain: Chain): number {
    if (chain.readableLength < HEADER_BYTES || chain.writableLength < 1) {
      this.#carryOut(queue);
      throw new QueueError(
        queue.index,
        "request",
        chain.id,
        "a block request has no header, or no place for the status",
      );
    }
    chain.read(this.#header);
    this.#sector = (this.#headerWords[2] as number) + (this.#headerWords[3] as number) * 2 ** 32;
    return this.#headerWords[0] as number;
  }

  /** The bytes that a read or write moves, or why it does not; undefined for other requests. */
  #transfer(type: number, chain: Chain): number | typeof REFUSED | "later" | undefined {
    let length: number;
    let sound: boolean;
    if (type === VIRTIO_BLK_T_IN) {
      length = chain.writableLength - 1;
      sound = chain.readableLength === HEADER_BYTES;
    } else if (type === VIRTIO_BLK_T_OUT) {
      length = chain.readableLength - HEADER_BYTES;
      sound = chain.writableLength === 1 && !this.#options.readOnly;
    } else return undefined;
    if (!sound || !this.#inRange(this.#sector, length)) return REFUSED;
    return this.#limit.take(length) ? length : "later";
  }

  /** Carries out the run and answers it; false if it has to wait, with all that was popped after it: `next`. */
  #carryOut(queue: VirtQueue, next?: Chain): boolean {
    const run = this.#run;
    const { reads, transfers } = run;
    if (transfers.length === 0) return true;
    if (run.whole && this.#moveRun()) {
      const completions = transfers.map(({ chain, length }) => {
        chain.write(SUCCESS, chain.writableLength - 1);
        return { chain, written: reads ? length + 1 : 1 };
      });
      queue.pushMany(completions);
      run.clear();
      return true;
    }
    // One by one, for those that can be done, and for the error of each that cannot.
    const type = reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
    let offset = run.offset;
    for (const [index, { chain, length }] of transfers.entries()) {
      const outcome = this.#moveOne(chain, reads, offset, length);
      if (!this.#answer(queue, chain, type, outcome)) {
        if (next !== undefined) queue.unpop(next);
        for (const { chain } of transfers.slice(index).reverse()) queue.unpop(chain);
        run.clear();
        return false;
      }
      offset += length;
    }
    run.clear();
    return true;
  }

  /** Answers a request; false if an error of the host has it wait. */
  #answer(queue: VirtQueue, chain: Chain, type: number, outcome: Exclude<Outcome, "later">): boolean {
    const data = type === VIRTIO_BLK_T_IN || type === VIRTIO_BLK_T_GET_ID ? chain.writableLength - 1 : 0;
    let status: number;
    if ("status" in outcome) status = outcome.status;
    else {
      const action = this.#onError(type, outcome.errno);
      if (action === "stop") return false;
      status = action === "ignore" ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
    }
    this.#status[0] = status;
    chain.write(this.#status, chain.writableLength - 1);
    // A lower bound: where data was not read, the driver must not take it for that.
    if (status !== VIRTIO_BLK_S_OK && data > 0) {
      chain.markWritten(0, chain.writableLength);
      queue.push(chain, 0);
    } else queue.push(chain, data + 1);
    return true;
  }

  #perform(type: number, chain: Chain): Outcome {
    switch (type) {
      case VIRTIO_BLK_T_FLUSH:
        return this.#count("flush", 0, () => this.#flush());
      case VIRTIO_BLK_T_GET_ID:
        return this.#identify(chain);
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#options.readOnly ? REFUSED : this.#ranges(type, chain);
      default:
        return UNSUPPORTED;
    }
  }

  /** Moves the run at once; false if that did not succeed. */
  #moveRun(): boolean {
    const { reads, vector, offset, transfers } = this.#run;
    const started = performance.now();
    let result = reads ? this.#image.read(vector, offset) : this.#image.write(vector, offset);
    if (result === 0 && !reads && !this.#writeback) result = this.#image.flush();
    if (result < 0) return false;
    this.#statistics.countRun(reads ? "read" : "write", transfers, (performance.now() - started) * 1e6);
    return true;
  }

  #moveOne(chain: Chain, reads: boolean, offset: number, length: number): Exclude<Outcome, "later"> {
    return this.#count(reads ? "read" : "write", length, () => {
      const result = this.#move(chain, reads, reads ? 0 : HEADER_BYTES, length, offset);
      return result === 0 && !reads && !this.#writeback ? this.#image.flush() : result;
    });
  }

  #flush(): number {
    return this.#options.readOnly ? 0 : this.#image.flush();
  }

  #identify(chain: Chain): Outcome {
    if (chain.writableLength - 1 < BLK_ID_BYTES) return REFUSED;
    const id = new Uint8Array(chain.writableLength - 1);
    id.set(Buffer.from(this.#options.serial, "latin1").subarray(0, BLK_ID_BYTES));
    chain.write(id);
    return DONE;
  }

  #ranges(type: number, chain: Chain): Outcome {
    const bytes = new Uint8Array(Math.min(chain.readableLength - HEADER_BYTES, (BLK_MAX_RANGES + 1) * RANGE_BYTES));
    chain.read(bytes, HEADER_BYTES);
    const ranges = parseRanges(bytes, BLK_MAX_RANGES, BLK_MAX_RANGE_SECTORS);
    if (ranges === null || chain.writableLength !== 1) return UNSUPPORTED;
    const discard = type === VIRTIO_BLK_T_DISCARD;
    if (discard && ranges.some((range) => range.unmap)) return UNSUPPORTED;
    if (ranges.some(({ offset, length }) => !this.#inRange(offset / SECTOR, length))) return REFUSED;
    const total = ranges.reduce((sum, { length }) => sum + length, 0);
    if (!this.#limit.take(0)) return "later";
    return this.#count(discard ? "discard" : "write-zeroes", total, () => {
      for (const { offset, length, unmap } of ranges) {
        if (length === 0 || (discard && !this.#options.discard)) continue;
        const result = discard
          ? this.#image.discard(offset, length)
          : this.#image.writeZeroes(offset, length, unmap && this.#options.discard);
        if (result < 0) return result;
      }
      return this.#writeback ? 0 : this.#flush();
    });
  }

  #inRange(sector: number, length: number): boolean {
    return length % SECTOR === 0 && sector * SECTOR + length <= this.#image.size;
  }

  /** Moves a part of a chain to or from the image; 0 or an error. More pieces than one call takes go in several. */
  #move(chain: Chain, reads: boolean, from: number, length: number, offset: number): number {
    const vector = this.#vector;
    const image = this.#image;
    for (let done = 0; done < length; ) {
      vector.clear();
      const left = length - done;
      let step = reads
        ? chain.gatherWritable(vector, from + done, left)
        : chain.gatherReadable(vector, from + done, left);
      if (step < left) {
        step = Math.floor(step / SECTOR) * SECTOR;
        vector.clear();
        if (reads) chain.gatherWritable(vector, from + done, step);
        else chain.gatherReadable(vector, from + done, step);
        if (step === 0) return -EINVAL;
      }
      const at = offset + done;
      const result = reads ? image.read(vector, at) : image.write(vector, at);
      if (result < 0) return result;
      done += step;
    }
    return 0;
  }

  #count(operation: BlkOperation, bytes: number, work: () => number): Exclude<Outcome, "later"> {
    const started = performance.now();
    const result = work();
    this.#statistics.count(operation, bytes, result >= 0, (performance.now() - started) * 1e6);
    return result < 0 ? { errno: -result } : DONE;
  }

  /** Tells the embedder, and decides what the guest is told. */
  #onError(type: number, errno: number): "report" | "ignore" | "stop" {
    const { readError, writeError } = this.#options;
    const isRead = type === VIRTIO_BLK_T_IN;
    const policy = isRead ? readError : writeError;
    const nospace = errno === ENOSPC;
    const action = policy === "enospc" ? (nospace ? "stop" : "report") : policy;
    this.#context.emit({
      name: "io-error",
      data: { operation: isRead ? "read" : "write", action, nospace, reason: errnoName(errno) },
    });
    if (action === "stop") this.#stopped = true;
    return action;
  }
}

/** What `command("info")` answers. */
export interface BlkInfo {
  /** Bytes. */
  readonly size: number;
  /** Whether writes may stay in the host's cache until a flush. */
  readonly writeback: boolean;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly path: string;
}

/** What the device saves: requests are in the rings, data in the image. */
export interface BlkState {
  /** Bytes. */
  readonly capacity: number;
  readonly writeback: boolean;
}

/** The factory that the device's service calls. */
export function createBlkDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new BlkDevice(context, options as BlkDeviceOptions);
}
