import { IoVector } from "@baton/linux";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { NET_MAX_QUEUE_SIZE } from "./config.js";
import type { FrameRing } from "./frame-ring.js";
import { NET_HEADER_BYTES, NUM_BUFFERS } from "./packet.js";

/** Buffers are counted from the first ever taken; each has the place of its number modulo the longest queue. */
const PLACES = NET_MAX_QUEUE_SIZE;
/** For the remainder by a power of two, also of counts beyond 31 bits. */
const MASK = PLACES - 1;

/**
 * Buffers of the guest that were taken and have no packet yet, in order. Their pieces stand in a vector, for one packet
 * over as many of them as it needs; or each in a vector of its own, for a batch of packets.
 */
export class ReceiveBuffers {
  /** The pieces of the buffers taken by {@link ReceiveBuffers.take}. */
  readonly vector = new IoVector();
  #queue: VirtQueue | undefined;
  readonly #chains = new Array<Chain | undefined>(PLACES).fill(undefined);
  /** Bytes of each chain that stand in a vector. */
  readonly #rooms = new Float64Array(PLACES);
  #first = 0;
  /** The first that does not stand in the common vector. */
  #gathered = 0;
  #end = 0;
  #full = false;
  /** The descriptors of all of them. */
  descriptors = 0;

  /** Bytes that one packet finds. */
  get room(): number {
    return this.vector.byteLength;
  }

  /** Whether the last one did not find room in the vector as a whole: none is taken after it. */
  get full(): boolean {
    return this.#full;
  }

  /** Begins with a queue. */
  reset(queue: VirtQueue): void {
    this.forget();
    this.#queue = queue;
  }

  /** Drops all. */
  forget(): void {
    this.#chains.fill(undefined);
    this.#first = 0;
    this.#gathered = 0;
    this.#end = 0;
    this.#full = false;
    this.descriptors = 0;
    this.vector.clear();
    this.#queue = undefined;
  }

  /** Puts all back into the queue. */
  giveBack(): void {
    const queue = this.#queue;
    for (let i = this.#end - 1; i >= this.#first; i--) queue?.unpop(this.#chain(i));
    this.forget();
  }

  /** Takes more until there is room for `bytes` in the vector, or none are left; one at most unless `several`. */
  take(bytes: number, several: boolean): void {
    while (this.room < bytes && !this.#full && (several || this.#gathered === this.#first)) {
      if (this.#gathered === this.#end && !this.#pop()) return;
      const chain = this.#chain(this.#gathered);
      const room = chain.gatherWritable(this.vector);
      if (room < chain.writableLength) this.#full = true;
      if (room === 0) return;
      this.#rooms[this.#gathered++ & MASK] = room;
    }
  }

  /**
   * Takes up to `most`, each for one packet, whose pieces it puts into the vector that the ring has for it; the
   * common vector has none of them then. Returns how many.
   */
  takeEach(most: number, ring: FrameRing): number {
    this.vector.clear();
    this.#gathered = this.#first;
    this.#full = false;
    for (let i = 0; i < most; i++) {
      const number = this.#first + i;
      if (number === this.#end && !this.#pop()) return i;
      const chain = this.#chain(number);
      const vector = ring.vector(i);
      vector.clear();
      const room = chain.gatherWritable(vector);
      // There must be room for one more.
      if (room < chain.writableLength || vector.count === vector.capacity) return i;
      this.#rooms[number & MASK] = room;
    }
    return most;
  }

  #pop(): boolean {
    const queue = this.#queue;
    const chain = queue?.pop() ?? null;
    if (queue === undefined || chain === null) return false;
    if (chain.writableLength < NET_HEADER_BYTES) {
      queue.unpop(chain);
      throw new QueueError(queue.index, "request", chain.id, "a buffer for packets has no room for a header");
    }
    this.#chains[this.#end++ & MASK] = chain;
    this.descriptors += chain.descriptors;
    return true;
  }

  /** Bytes that the packet of a batch finds, beside what follows them in its vector. */
  roomOf(index: number): number {
    return this.#room(this.#first + index);
  }

  /** Each of the first `count` has a packet of a batch, of so many bytes: completes them; the caller publishes them. */
  useEach(count: number, lengths: Int32Array): void {
    const queue = this.#queue as VirtQueue;
    for (let i = 0; i < count; i++) {
      const chain = this.#chain(this.#first);
      chain.writeU16(NUM_BUFFERS, 1);
      this.#dropFirst();
      queue.complete(chain, lengths[i] as number);
    }
    this.#gathered = this.#first;
  }

  /** Copies what a batch has put into one of them, and marks it. */
  readOf(index: number, target: Uint8Array): void {
    const chain = this.#chain(this.#first + index);
    copyFrom(chain, target, 0, 0, target.length);
    chain.markWritten(0, target.length);
  }

  /**
   * A packet of `length` bytes stands in them: completes those that it takes, and returns how many; the caller publishes
   * them.
   */
  use(length: number): number {
    const queue = this.#queue as VirtQueue;
    const count = this.#countFor(length);
    this.#chain(this.#first).writeU16(NUM_BUFFERS, count);
    let rooms = 0;
    for (let i = 0; i < count; i++) {
      const chain = this.#chain(this.#first);
      const room = this.#room(this.#first);
      this.#dropFirst();
      queue.complete(chain, Math.min(length - rooms, room));
      rooms += room;
    }
    this.vector.advance(rooms);
    this.#full = false;
    return count;
  }

  /** How many of them hold so many bytes. */
  #countFor(length: number): number {
    let count = 0;
    for (let left = length; left > 0; count++) left -= this.#room(this.#first + count);
    return count;
  }

  /** Copies bytes to `offset` over all of them; there is room. */
  write(bytes: Uint8Array, offset: number): void {
    this.#walk(offset, bytes.length, (chain, at, done, step) => chain.write(bytes.subarray(done, done + step), at));
  }

  /** Copies the first bytes of all of them, which are what a call has put there. */
  read(target: Uint8Array): void {
    this.#walk(0, target.length, (chain, at, done, step) => copyFrom(chain, target, done, at, step));
  }

  /** Marks all as written to: something stands in them that the driver is not told of. */
  markAll(): void {
    this.#walk(0, this.room, (chain, at, _done, step) => chain.markWritten(at, step));
  }

  #walk(offset: number, length: number, each: (chain: Chain, at: number, done: number, step: number) => void): void {
    let skip = offset;
    let done = 0;
    for (let i = this.#first; done < length; i++) {
      const room = this.#room(i);
      if (skip >= room) {
        skip -= room;
        continue;
      }
      const step = Math.min(room - skip, length - done);
      each(this.#chain(i), skip, done, step);
      done += step;
      skip = 0;
    }
  }

  #chain(number: number): Chain {
    return this.#chains[number & MASK] as Chain;
  }

  #room(number: number): number {
    return this.#rooms[number & MASK] as number;
  }

  #dropFirst(): void {
    this.descriptors -= this.#chain(this.#first).descriptors;
    this.#chains[this.#first++ & MASK] = undefined;
  }
}

/** Copies `length` bytes from `offset` on of what stands in a chain to a place in `target`. */
function copyFrom(chain: Chain, target: Uint8Array, to: number, offset: number, length: number): void {
  let at = to;
  for (const slice of chain.writableSlices(offset, length)) {
    target.set(slice, at);
    at += slice.length;
  }
}
