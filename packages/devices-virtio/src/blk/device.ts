import { BatonError, EPOLLET, EPOLLIN } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { bit, hasBit } from "../device/features.js";
import { deviceStateError } from "../device/state.js";
import type { VirtQueue } from "../queue/queue.js";
import {
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
import { openImage } from "./image/open.js";
import { type Aio, type ImageRing, openRing } from "./image/ring.js";
import { BlkOperations } from "./operations.js";
import type { BlkDeviceOptions, DetectZeroes } from "./options.js";
import { BlkRequests, type HeldRequest } from "./requests.js";
import { type BlkState, type HeldState, readBlkState } from "./state.js";

/** A block device (virtio 1.2, 5.2). */
export class BlkDevice implements VirtioDevice {
  readonly deviceId = 2;
  /** A read-only disk refuses them one by one. */
  readonly tolerated = bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly workQueues: readonly number[];
  readonly config: Uint8Array;
  readonly #context: VirtioDeviceContext;
  readonly #options: BlkDeviceOptions;
  readonly #image: BlockImage;
  readonly #ring: ImageRing | undefined;
  readonly #operations: BlkOperations;
  readonly #requests: BlkRequests;
  readonly #endWatch: (() => void) | undefined;
  /** Whether the driver knows of the write cache: without FLUSH every write is durable before it is answered. */
  #cached = false;
  /** What a loaded state has held, until the queues are there. */
  #heldState: readonly HeldState[] = [];
  /** A state was loaded and nothing done since: the files are another device's, for all that this one knows. */
  #loaded = false;

  /** Takes over the ring, where it is given one. */
  constructor(context: VirtioDeviceContext, options: BlkDeviceOptions, given?: ImageRing) {
    this.#context = context;
    this.#options = options;
    const image = openImage(options.image);
    const ring = given ?? openRing(options.image);
    const { queues, queueSize } = options;
    this.queueSizes = Array.from({ length: queues }, () => queueSize);
    this.workQueues = this.queueSizes.map((_, i) => i);
    this.config = blkConfig({
      size: image.size,
      logicalBlockSize: image.logicalBlockSize,
      physicalBlockSize: Math.max(image.physicalBlockSize, image.logicalBlockSize),
      queues,
      queueSize,
    });
    let features = bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_TOPOLOGY);
    features |= bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE);
    if (queues > 1) features |= bit(VIRTIO_BLK_F_MQ);
    if (options.readOnly) features |= bit(VIRTIO_BLK_F_RO);
    else features |= bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
    this.features = features;
    this.#image = image;
    this.#operations = new BlkOperations(image, options);
    this.#ring = ring;
    this.#requests = new BlkRequests(context, options, this.#operations, ring);
    if (ring !== undefined) {
      this.#endWatch = context.watch(ring.ready.raw, EPOLLIN | EPOLLET, () => this.#requests.reap());
    }
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset !== CONFIG_WRITEBACK || bytes.length !== 1) return;
    this.#setWriteback(bytes[0] === 1);
    // A cache that is turned off keeps nothing back.
    if (bytes[0] === 1 || this.#options.readOnly) return;
    this.#requests.drain();
    this.#image.flush();
  }

  start({ features, queues }: DriverReady): void {
    this.#requests.start(queues, this.#restoreHeld(queues));
    this.#cached = hasBit(features, VIRTIO_BLK_F_FLUSH);
    const told = hasBit(features, VIRTIO_BLK_F_CONFIG_WCE);
    this.#setWriteback(told ? this.config[CONFIG_WRITEBACK] === 1 : this.#cached);
  }

  notify(queue: VirtQueue): boolean {
    return this.#requests.notify(queue);
  }

  reset(): void {
    this.#requests.reset();
    this.#heldState = [];
    this.#cached = false;
    this.#setWriteback(true);
  }

  quiesce(): void {
    this.#requests.quiesce();
  }

  resume(): void {
    this.#loaded = false;
    this.#requests.resume();
  }

  save(): BlkState {
    return {
      capacity: this.#operations.capacity,
      writeback: this.config[CONFIG_WRITEBACK] === 1,
      held: this.#requests.held.map(({ queue, chain }) => ({ queue: queue.index, chain: chain.save() })),
      image: this.#image.save(),
    };
  }

  load(state: unknown): void {
    const { queues, queueSize } = this.#options;
    const { id } = this.#context;
    const { capacity, writeback, held, image } = readBlkState(id, state, queues, queueSize);
    this.#loaded = true;
    this.#image.load(id, image);
    if (capacity > this.#image.size) {
      throw deviceStateError(
        id,
        "device/capacity",
        `the guest's disk has ${capacity} bytes, the image ${this.#image.size}`,
      );
    }
    this.#setSize(capacity);
    this.#heldState = held;
    this.#setWriteback(writeback);
  }

  succeed(former: unknown): BlkState {
    const { queues, queueSize } = this.#options;
    const { writeback } = readBlkState(this.#context.id, former, queues, queueSize);
    return { ...this.save(), writeback };
  }

  abandon(): void {
    this.#requests.abandon();
  }

  command(name: string, args: unknown): unknown {
    if (name === "statistics") return this.#operations.statistics.save();
    if (name === "info") return this.#info();
    if (name === "resize") return this.#resize((args as { readonly size?: number } | undefined)?.size);
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a block device has no command '${name}'`);
  }

  close(handedOver: boolean): void {
    this.#requests.close();
    this.#endWatch?.();
    this.#ring?.close();
    if (!handedOver && !this.#loaded && !this.#options.readOnly) this.#image.flush();
  }

  #info(): BlkInfo {
    const { path, readOnly, direct, detectZeroes } = this.#options;
    return {
      size: this.#operations.capacity,
      writeback: this.#operations.writeback,
      readOnly,
      direct,
      path,
      aio: this.#ring === undefined ? "threads" : "io_uring",
      detectZeroes,
    };
  }

  /** Makes the disk another size, or the one that the image has now, and tells the driver. Throws `BLOCK_RESIZE`. */
  #resize(size?: number): number {
    const refuse = (problem: string, cause?: unknown): BatonError => {
      const { id } = this.#context;
      return new BatonError("BLOCK_RESIZE", `${id}: ${problem}`, { cause, details: { device: id, size } });
    };
    if (size !== undefined) {
      if (!Number.isSafeInteger(size) || size < 0 || size % SECTOR !== 0) {
        throw refuse(`a disk has whole sectors of ${SECTOR} bytes, not ${String(size)} bytes`);
      }
      if (this.#options.readOnly) throw refuse("the disk is read-only");
    }
    this.#requests.drain();
    let now: number;
    try {
      now = this.#image.resize(size);
    } catch (error) {
      throw refuse(BatonError.from(error, "BLOCK_RESIZE").message, error);
    }
    this.#setSize(now);
    this.#context.configChanged();
    return now;
  }

  #setSize(size: number): void {
    this.#operations.capacity = size;
    setCapacity(this.config, size);
  }

  #setWriteback(on: boolean): void {
    this.config[CONFIG_WRITEBACK] = on ? 1 : 0;
    this.#operations.writeback = on && this.#cached;
  }

  /** The requests that a loaded state holds: all that the rings say are with the device. Throws `DEVICE_STATE`. */
  #restoreHeld(queues: readonly VirtQueue[]): HeldRequest[] {
    const held = this.#heldState.map(({ queue, chain }) => {
      const from = queues[queue] as VirtQueue;
      return { queue: from, chain: from.restoreChain(chain) };
    });
    this.#heldState = [];
    for (const queue of queues) {
      const own = held.filter((request) => request.queue === queue).map(({ chain }) => chain.id);
      const taken = queue.inFlight === 0 ? 0 : queue.save().inFlight.filter(({ written }) => written === null).length;
      if (own.length !== taken || new Set(own).size !== taken) {
        const problem = `holds ${own.length} requests of queue ${queue.index}, which has given ${taken}`;
        throw deviceStateError(this.#context.id, "device/held", problem);
      }
    }
    return held;
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
  /** How requests are carried out. */
  readonly aio: Aio;
  readonly detectZeroes: DetectZeroes;
}

/** The factory that the device's service calls. */
export function createBlkDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new BlkDevice(context, options as BlkDeviceOptions);
}
