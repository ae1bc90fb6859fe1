import type { Chain } from "./chain.js";
import type { InFlightState } from "./queue.js";

/** Ids have 16 bits; those of all but a strange driver of a packed queue are below the queue's size. */
const MOST_IDS = 0x1_0000;

/** What is known of each buffer, by its id. Arrays of numbers, as objects cost the hot loops more than all else. */
class Buffers {
  /** 0 for an id that the device does not have. */
  readonly descriptors: Uint16Array;
  /** The length to tell the driver once the device is done; -1 until then. */
  readonly written: Float64Array;
  /** Counts the pops. */
  readonly order: Float64Array;
  /** What the device has of it; undefined if it was loaded and not restored. */
  readonly chain: (Chain | undefined)[];

  constructor(ids: number, before?: Buffers) {
    this.descriptors = new Uint16Array(ids);
    this.written = new Float64Array(ids);
    this.order = new Float64Array(ids);
    this.chain = new Array<Chain | undefined>(ids).fill(undefined);
    if (before === undefined) return;
    this.descriptors.set(before.descriptors);
    this.written.set(before.written);
    this.order.set(before.order);
    for (const [id, chain] of before.chain.entries()) this.chain[id] = chain;
  }
}

/** The buffers that a device has popped and not yet used. */
export class InFlight {
  /** What the driver may now be told of, the first {@link InFlight.readyCount}: ids, lengths and descriptors. */
  readonly readyIds: Uint16Array;
  readonly readyWritten: Uint32Array;
  readonly readyDescriptors: Uint16Array;
  readyCount = 0;
  /** How many. */
  count = 0;
  /** All their descriptors. */
  descriptors = 0;
  #buffers: Buffers;
  /** Their ids in the order of their popping if buffers are used in that order (virtio 1.2, 2.7.9 and 2.8.8). */
  readonly #queue: number[] | undefined;
  #nextOrder = 0;

  /** For a queue of `size` descriptors. */
  constructor(size: number, inOrder: boolean) {
    this.#buffers = new Buffers(size);
    this.#queue = inOrder ? [] : undefined;
    this.readyIds = new Uint16Array(size);
    this.readyWritten = new Uint32Array(size);
    this.readyDescriptors = new Uint16Array(size);
  }

  /** Whether there is one with an id. */
  has(id: number): boolean {
    const { descriptors } = this.#buffers;
    return id < descriptors.length && descriptors[id] !== 0;
  }

  /** The descriptors of one with an id that the device is not done with; 0 if there is none. */
  descriptorsOf(id: number): number {
    return this.has(id) && (this.#buffers.written[id] as number) < 0 ? (this.#buffers.descriptors[id] as number) : 0;
  }

  /** Whether a chain is one of them that the device is not done with. */
  holds(chain: Chain): boolean {
    const { id } = chain;
    const { chain: chains, written } = this.#buffers;
    return id < chains.length && chains[id] === chain && (written[id] as number) < 0;
  }

  /** Takes one, whose id must be new. */
  add(id: number, descriptors: number, chain: Chain | undefined, written = -1): void {
    if (id >= this.#buffers.descriptors.length) this.#buffers = new Buffers(MOST_IDS, this.#buffers);
    const buffers = this.#buffers;
    buffers.descriptors[id] = descriptors;
    buffers.written[id] = written;
    buffers.order[id] = this.#nextOrder++;
    buffers.chain[id] = chain;
    this.#queue?.push(id);
    this.count++;
    this.descriptors += descriptors;
  }

  /** Gives one that was loaded its chain again. */
  restore(chain: Chain): void {
    this.#buffers.chain[chain.id] = chain;
  }

  /** Whether nothing was popped after one that is held. */
  isLatest({ id }: Chain): boolean {
    return this.#buffers.order[id] === this.#nextOrder - 1;
  }

  /** Drops the latest as if it had not been popped. */
  undo({ id }: Chain): void {
    this.#remove(id);
    this.#queue?.pop();
    this.#nextOrder--;
  }

  #remove(id: number): void {
    const buffers = this.#buffers;
    this.count--;
    this.descriptors -= buffers.descriptors[id] as number;
    buffers.descriptors[id] = 0;
    buffers.chain[id] = undefined;
  }

  #makeReady(id: number): void {
    const { written, descriptors } = this.#buffers;
    const at = this.readyCount++;
    this.readyIds[at] = id;
    this.readyWritten[at] = written[id] as number;
    this.readyDescriptors[at] = descriptors[id] as number;
    this.#remove(id);
  }

  /** Whether no more can be made ready before the driver was told. */
  get readyIsFull(): boolean {
    return this.readyCount + this.count > this.readyIds.length;
  }

  /**
   * Notes that the device is done with one that is held, and makes those ready that the driver may now be told of: not
   * while {@link InFlight.readyIsFull}.
   */
  complete({ id }: Chain, length: number): void {
    const { written } = this.#buffers;
    written[id] = length;
    const queue = this.#queue;
    if (queue === undefined) {
      this.#makeReady(id);
      return;
    }
    for (let first = queue[0]; first !== undefined && (written[first] as number) >= 0; first = queue[0]) {
      queue.shift();
      this.#makeReady(first);
    }
  }

  /** As plain data, in the order of their popping. */
  save(): InFlightState[] {
    const { descriptors, written, order } = this.#buffers;
    const ids = [...descriptors.keys()].filter((id) => descriptors[id] !== 0);
    return ids
      .sort((a, b) => (order[a] as number) - (order[b] as number))
      .map((id) => {
        const length = written[id] as number;
        return { id, descriptors: descriptors[id] as number, written: length < 0 ? null : length };
      });
  }
}
