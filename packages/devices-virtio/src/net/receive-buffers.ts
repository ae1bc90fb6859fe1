import type { IoVector } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { NET_MAX_QUEUE_SIZE } from "./config.js";
import { NET_HEADER_BYTES, NUM_BUFFERS } from "./packet.js";

/** Buffers are counted from the first ever taken; each has the place of its number modulo the longest queue. */
const PLACES = NET_MAX_QUEUE_SIZE;

/** Buffers of the guest that were taken and have no packet yet, in order, and their pieces in a vector for `readv`. */
export class ReceiveBuffers {
  readonly #vector: IoVector;
  readonly #memory: GuestMemory;
  #queue: VirtQueue | undefined;
  readonly #chains = new Array<Chain | undefined>(PLACES).fill(undefined);
  /** Bytes of each chain that stand in the vector. */
  readonly #rooms = new Float64Array(PLACES);
  #first = 0;
  #end = 0;
  #full = false;
  /** The descriptors of all of them. */
  descriptors = 0;

  constructor(vector: IoVector, memory: GuestMemory) {
    this.#vector = vector;
    this.#memory = memory;
  }

  /** Bytes that one packet finds. */
  get room(): number {
    return this.#vector.byteLength;
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
    this.#end = 0;
    this.#full = false;
    this.descriptors = 0;
    this.#vector.clear();
    this.#queue = undefined;
  }

  /** Puts all back into the queue. */
  giveBack(): void {
    const queue = this.#queue;
    for (let i = this.#end - 1; i >= this.#first; i--) queue?.unpop(this.#chain(i));
    this.forget();
  }

  /** Takes more until there is room for `bytes`, or none are left; one at most unless `several`. */
  take(bytes: number, several: boolean): void {
    const queue = this.#queue;
    while (queue !== undefined && this.room < bytes && !this.#full && (several || this.#first === this.#end)) {
      const chain = queue.pop();
      if (chain === null) return;
      if (chain.writableLength < NET_HEADER_BYTES) {
        queue.unpop(chain);
        throw new QueueError(queue.index, "request", chain.id, "a buffer for packets has no room for a header");
      }
      const room = chain.gatherWritable(this.#vector);
      if (room < chain.writableLength) this.#full = true;
      if (room === 0) {
        queue.unpop(chain);
        return;
      }
      this.#chains[this.#end % PLACES] = chain;
      this.#rooms[this.#end % PLACES] = room;
      this.#end++;
      this.descriptors += chain.descriptors;
    }
  }

  /** A packet of `length` bytes stands in them: completes those that it takes; the caller publishes them. */
  use(length: number): void {
    const queue = this.#queue as VirtQueue;
    const first = this.#chain(this.#first);
    const firstRoom = this.#room(this.#first);
    if (length <= firstRoom) {
      this.#setNumBuffers(first, 1);
      this.#drop(1, firstRoom);
      queue.complete(first, length);
      return;
    }
    const count = this.#countFor(length);
    this.#setNumBuffers(first, count);
    let left = length;
    let rooms = 0;
    const end = this.#first + count;
    for (let i = this.#first; i < end; i++) {
      const room = this.#room(i);
      queue.complete(this.#chain(i), Math.min(left, room));
      rooms += room;
      left -= room;
    }
    this.#drop(count, rooms);
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
    this.#walk(0, target.length, (chain, at, done, step) => {
      let to = done;
      for (const slice of chain.writableSlices(at, step)) {
        target.set(slice, to);
        to += slice.length;
      }
    });
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

  #setNumBuffers(chain: Chain, count: number): void {
    const piece = chain.writable[0];
    if (piece !== undefined && piece.length >= NET_HEADER_BYTES) this.#memory.writeU16(piece.gpa + NUM_BUFFERS, count);
    else chain.write(Uint8Array.of(count, count >>> 8), NUM_BUFFERS);
  }

  #chain(number: number): Chain {
    return this.#chains[number % PLACES] as Chain;
  }

  #room(number: number): number {
    return this.#rooms[number % PLACES] as number;
  }

  #drop(count: number, rooms: number): void {
    for (const end = this.#first + count; this.#first < end; this.#first++) {
      this.descriptors -= this.#chain(this.#first).descriptors;
      this.#chains[this.#first % PLACES] = undefined;
    }
    this.#vector.advance(rooms);
    this.#full = false;
  }
}
