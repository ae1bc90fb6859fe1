import type { GuestMemory } from "@baton/memory";
import { type Chain, type CollectedPieces, makeChain } from "./chain.js";
import { DESC_BYTES, DESC_F_WRITE } from "./descriptor.js";
import { QueueError, type QueueFault } from "./errors.js";
import { RamMap } from "./ram-map.js";

/** The most bytes of a chain (virtio 1.2, 2.7.5.2). */
const MAX_BYTES = 2 ** 32;
/** Addresses from here on have no RAM, and are not exact as numbers. */
const HIGH_LIMIT = 2 ** 20;

/** For a chain of which nothing is known yet: never written to. */
const NONE: number[] = [];

/** Collects the descriptors of a chain and checks each: order, length, and that it is RAM. Throws {@link QueueError}. */
export class ChainBuilder implements CollectedPieces {
  readonly ram: RamMap;
  readonly #queue: number;
  pieces = NONE;
  firstWritable = 0;
  readableLength = 0;
  writableLength = 0;

  /** `queue` is its number, for errors. */
  constructor(memory: GuestMemory, queue: number) {
    this.#queue = queue;
    this.ram = new RamMap(memory);
  }

  /** Forgets what was collected. */
  begin(): void {
    this.pieces = NONE;
    this.firstWritable = 0;
    this.readableLength = 0;
    this.writableLength = 0;
  }

  /** Takes a buffer; the address in two halves, `index` the descriptor for errors. */
  add(low: number, high: number, length: number, flags: number, index: number): void {
    if (length === 0) this.#fail("zero-length", index, `descriptor ${index} has no bytes`);
    const gpa = high * 2 ** 32 + low;
    if (high >= HIGH_LIMIT || !this.ram.has(gpa, length)) {
      this.#fail("address", index, `descriptor ${index}: ${length} bytes at 0x${gpa.toString(16)} are not RAM`);
    }
    // A literal has the room for what it holds; a first push makes room for 17.
    if (this.pieces === NONE) this.pieces = [gpa, length];
    else this.pieces.push(gpa, length);
    if ((flags & DESC_F_WRITE) !== 0) this.writableLength += length;
    else {
      if (this.writableLength > 0) {
        this.#fail("order", index, `descriptor ${index} is readable and follows one that is writable`);
      }
      this.firstWritable = this.pieces.length;
      this.readableLength += length;
    }
    if (this.readableLength + this.writableLength > MAX_BYTES) {
      this.#fail("total-length", index, `the chain that ends with descriptor ${index} has more than 2^32 bytes`);
    }
  }

  /** Checks where an indirect table stands, and returns its address; it may have any alignment. */
  table(low: number, high: number, length: number, index: number): number {
    const gpa = high * 2 ** 32 + low;
    if (length === 0 || length % DESC_BYTES !== 0 || high >= HIGH_LIMIT || !this.ram.has(gpa, length)) {
      const what = `an indirect table of ${length} bytes at 0x${gpa.toString(16)}`;
      this.#fail("indirect-table", index, `descriptor ${index} names ${what}`);
    }
    return gpa;
  }

  /** The chain of what was collected. */
  finish(owner: object, id: number, position: number, descriptors: number): Chain {
    return makeChain(this.ram, owner, id, position, descriptors, this);
  }

  #fail(reason: QueueFault, index: number, message: string): never {
    throw new QueueError(this.#queue, reason, index, message);
  }
}
