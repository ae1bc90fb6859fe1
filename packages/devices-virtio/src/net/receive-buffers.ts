import type { IoVector } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { Completion, VirtQueue } from "../queue/queue.js";
import { NET_HEADER_BYTES, NUM_BUFFERS } from "./packet.js";

/** Places that are free at the front before the lists are moved up. */
const SLACK = 256;

/** Buffers of the guest that were taken and have no packet yet, in order, and their pieces in a vector for `readv`. */
export class ReceiveBuffers {
  readonly #vector: IoVector;
  readonly #memory: GuestMemory;
  #queue: VirtQueue | undefined;
  #chains: Chain[] = [];
  /** Bytes of each chain that stand in the vector. */
  #rooms: number[] = [];
  #first = 0;
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
    this.#chains = [];
    this.#rooms = [];
    this.#first = 0;
    this.#full = false;
    this.descriptors = 0;
    this.#vector.clear();
    this.#queue = undefined;
  }

  /** Puts all back into the queue. */
  giveBack(): void {
    const queue = this.#queue;
    for (let i = this.#chains.length - 1; i >= this.#first; i--) queue?.unpop(this.#chains[i] as Chain);
    this.forget();
  }

  /** Takes more until there is room for `bytes`, or none are left; one at most unless `several`. */
  take(bytes: number, several: boolean): void {
    const queue = this.#queue;
    while (
      queue !== undefined &&
      this.room < bytes &&
      !this.#full &&
      (several || this.#first === this.#chains.length)
    ) {
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
      this.#chains.push(chain);
      this.#rooms.push(room);
      this.descriptors += chain.descriptors;
    }
  }

  /** A packet of `length` bytes stands in them: tells the driver of those that it takes, all at once. */
  use(length: number): void {
    const queue = this.#queue as VirtQueue;
    const first = this.#chains[this.#first] as Chain;
    const firstRoom = this.#rooms[this.#first] as number;
    if (length <= firstRoom) {
      this.#setNumBuffers(first, 1);
      this.#drop(1, firstRoom);
      queue.push(first, length);
      return;
    }
    const completions: Completion[] = [];
    let rooms = 0;
    for (let left = length, i = this.#first; left > 0; i++) {
      const room = this.#rooms[i] as number;
      completions.push({ chain: this.#chains[i] as Chain, written: Math.min(left, room) });
      rooms += room;
      left -= room;
    }
    this.#setNumBuffers(first, completions.length);
    this.#drop(completions.length, rooms);
    queue.pushMany(completions);
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
      const room = this.#rooms[i] as number;
      if (skip >= room) {
        skip -= room;
        continue;
      }
      const step = Math.min(room - skip, length - done);
      each(this.#chains[i] as Chain, skip, done, step);
      done += step;
      skip = 0;
    }
  }

  #setNumBuffers(chain: Chain, count: number): void {
    const piece = chain.writable[0];
    if (piece !== undefined && piece.length >= NET_HEADER_BYTES) this.#memory.writeU16(piece.gpa + NUM_BUFFERS, count);
    else chain.write(Uint8Array.of(count, count >>> 8), NUM_BUFFERS);
  }

  #drop(count: number, rooms: number): void {
    for (let i = 0; i < count; i++) this.descriptors -= (this.#chains[this.#first + i] as Chain).descriptors;
    this.#first += count;
    this.#vector.advance(rooms);
    this.#full = false;
    if (this.#first < this.#chains.length && this.#first < SLACK) return;
    this.#chains.splice(0, this.#first);
    this.#rooms.splice(0, this.#first);
    this.#first = 0;
  }
}
