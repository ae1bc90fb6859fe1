import type { Chain } from "./chain.js";
import type { InFlightState } from "./queue.js";

/** A buffer that the device has. */
export interface InFlightEntry {
  readonly id: number;
  readonly descriptors: number;
  /** Counts the pops. */
  readonly order: number;
  /** The length to tell the driver once the device is done; -1 until then. */
  written: number;
  /** What the device has of it; undefined if it was loaded and not restored. */
  chain: Chain | undefined;
}

/** The buffers that a device has popped and not yet used. */
export class InFlight {
  /** What the driver may now be told of: the first `readyCount`. The array is kept, as making one costs. */
  readonly ready: InFlightEntry[] = [];
  readyCount = 0;
  /** How many. */
  count = 0;
  /** All their descriptors. */
  descriptors = 0;
  /** By id, where it is below the queue's size: always, but for a packed queue of a strange driver. */
  readonly #slots: (InFlightEntry | undefined)[];
  readonly #others = new Map<number, InFlightEntry>();
  /** All of them in the order of their popping if buffers are used in that order (virtio 1.2, 2.7.9 and 2.8.8). */
  readonly #queue: InFlightEntry[] | undefined;
  #nextOrder = 0;

  /** For a queue of `size` descriptors. */
  constructor(size: number, inOrder: boolean) {
    this.#slots = new Array<InFlightEntry | undefined>(size).fill(undefined);
    this.#queue = inOrder ? [] : undefined;
  }

  #find(id: number): InFlightEntry | undefined {
    return id < this.#slots.length ? this.#slots[id] : this.#others.get(id);
  }

  #put(id: number, entry: InFlightEntry | undefined): void {
    if (id < this.#slots.length) this.#slots[id] = entry;
    else if (entry === undefined) this.#others.delete(id);
    else this.#others.set(id, entry);
  }

  /** Whether there is one with an id. */
  has(id: number): boolean {
    return this.#find(id) !== undefined;
  }

  /** The one with an id that the device is not done with. */
  get(id: number): InFlightEntry | undefined {
    const entry = this.#find(id);
    return entry !== undefined && entry.written < 0 ? entry : undefined;
  }

  /** The one of a chain that the device is not done with. */
  of(chain: Chain): InFlightEntry | undefined {
    const entry = this.get(chain.id);
    return entry?.chain === chain ? entry : undefined;
  }

  /** Takes one, whose id must be new. */
  add(id: number, descriptors: number, chain: Chain | undefined, written = -1): void {
    const entry = { id, descriptors, order: this.#nextOrder++, written, chain };
    this.#put(id, entry);
    this.#queue?.push(entry);
    this.count++;
    this.descriptors += descriptors;
  }

  /** Whether nothing was popped after one. */
  isLatest(entry: InFlightEntry): boolean {
    return entry.order === this.#nextOrder - 1;
  }

  /** Drops the latest as if it had not been popped. */
  undo(entry: InFlightEntry): void {
    this.#remove(entry);
    this.#queue?.pop();
    this.#nextOrder = entry.order;
  }

  #remove(entry: InFlightEntry): void {
    this.#put(entry.id, undefined);
    this.count--;
    this.descriptors -= entry.descriptors;
  }

  /** Notes that the device is done with one, and makes those ready that the driver may now be told of. */
  complete(entry: InFlightEntry, written: number): void {
    entry.written = written;
    const queue = this.#queue;
    if (queue === undefined) {
      this.#remove(entry);
      this.ready[this.readyCount++] = entry;
      return;
    }
    for (let first = queue[0]; first !== undefined && first.written >= 0; first = queue[0]) {
      queue.shift();
      this.#remove(first);
      this.ready[this.readyCount++] = first;
    }
  }

  /** As plain data, in the order of their popping. */
  save(): InFlightState[] {
    const all = [...this.#slots, ...this.#others.values()].filter((entry) => entry !== undefined);
    return all
      .sort((a, b) => a.order - b.order)
      .map(({ id, descriptors, written }) => ({ id, descriptors, written: written < 0 ? null : written }));
  }
}
