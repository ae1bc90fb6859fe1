import { iovec } from "./abi/file.js";
import { BatonError } from "./errors.js";
import { addressOf, libc } from "./native.js";
import { anInt } from "./validate.js";
import { IOV_MAX } from "./vectors.js";

/** Fields of 32 bits in a `struct iovec`. */
const HALVES = iovec.size / 4;
const BASE = iovec.iov_base / 4;
const LENGTH = iovec.iov_len / 4;

type Compare = (a: number, b: number, length: number) => number;
let compare: Compare | undefined;

/** What a piece is compared with. */
const ZEROES = new Uint8Array(4096);
let zeroes = 0;

function zeroesAt(): number {
  if (zeroes === 0) zeroes = Number(addressOf(ZEROES));
  return zeroes;
}

/**
 * A reusable `struct iovec` array for hot loops: pieces of memory are packed as they are added, without objects or
 * bigints. `tryPreadv(fd, vector.words, vector.count, offset)` then takes them. What is at the addresses must stay
 * there until the call is made, as with {@link packIovecs}.
 */
export class IoVector {
  /** The array, for the try* calls: always the same, whatever is added. */
  readonly words: BigUint64Array;
  /** The most pieces. */
  readonly capacity: number;
  readonly #halves: Uint32Array;
  #count = 0;
  #byteLength = 0;
  /** The last piece. */
  #lastEnd = 0;
  #lastLength = 0;

  /** Empty, with room for `capacity` pieces: 1 to {@link IOV_MAX}. */
  constructor(capacity = IOV_MAX) {
    this.capacity = anInt(capacity, "capacity", 1, IOV_MAX);
    this.words = new BigUint64Array((this.capacity * iovec.size) / 8);
    this.#halves = new Uint32Array(this.words.buffer);
  }

  /** Pieces. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of all pieces. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /** Drops all pieces. */
  clear(): void {
    this.#count = 0;
    this.#byteLength = 0;
    this.#lastEnd = 0;
    this.#lastLength = 0;
  }

  /**
   * Adds `length` bytes at an address of this process, to the last piece if they follow it; nothing where `length` is 0.
   * False, and nothing is added, if there is no room. Throws `INVALID_ARGUMENT`.
   */
  add(address: number, length: number): boolean {
    if (!(Number.isSafeInteger(address) && address > 0 && Number.isSafeInteger(length) && length >= 0)) {
      throw new BatonError("INVALID_ARGUMENT", `${length} bytes at ${address} are no piece of memory`);
    }
    if (length === 0) return true;
    if (address === this.#lastEnd) {
      this.#lastLength += length;
      this.#putLength(this.#count - 1, this.#lastLength);
    } else {
      if (this.#count === this.capacity) return false;
      const at = this.#count * HALVES + BASE;
      this.#halves[at] = address;
      this.#halves[at + 1] = address / 0x1_0000_0000;
      this.#lastLength = length;
      this.#putLength(this.#count++, length);
    }
    this.#lastEnd = address + length;
    this.#byteLength += length;
    return true;
  }

  /** Drops what was added after the first `bytes` bytes. */
  truncate(bytes: number): void {
    anInt(bytes, "bytes", 0, this.#byteLength);
    while (this.#byteLength > bytes) {
      const last = (this.#count - 1) * HALVES;
      const excess = this.#byteLength - bytes;
      const length = this.#get(last + LENGTH);
      if (excess < length) this.#putLength(this.#count - 1, length - excess);
      else this.#count--;
      this.#byteLength -= Math.min(excess, length);
    }
    const last = (this.#count - 1) * HALVES;
    this.#lastLength = this.#count === 0 ? 0 : this.#get(last + LENGTH);
    this.#lastEnd = this.#count === 0 ? 0 : this.#get(last + BASE) + this.#lastLength;
  }

  /** Whether all bytes of the pieces are zero; looks no further than the first that is not. They must be mapped. */
  isZero(): boolean {
    compare ??= libc<Compare>("int memcmp(uintptr_t, uintptr_t, size_t)");
    for (let piece = 0; piece < this.#count; piece++) {
      const at = this.#get(piece * HALVES + BASE);
      const length = this.#get(piece * HALVES + LENGTH);
      const first = Math.min(length, ZEROES.length);
      if (compare(at, zeroesAt(), first) !== 0) return false;
      // What follows repeats the zeroes before it.
      if (length > first && compare(at, at + first, length - first) !== 0) return false;
    }
    return true;
  }

  /** The pieces, in order. */
  *pieces(): Generator<{ readonly address: number; readonly length: number }, void, undefined> {
    for (let piece = 0; piece < this.#count; piece++) {
      yield { address: this.#get(piece * HALVES + BASE), length: this.#get(piece * HALVES + LENGTH) };
    }
  }

  #putLength(piece: number, length: number): void {
    const at = piece * HALVES + LENGTH;
    this.#halves[at] = length;
    this.#halves[at + 1] = length / 0x1_0000_0000;
  }

  #get(at: number): number {
    return (this.#halves[at + 1] as number) * 0x1_0000_0000 + (this.#halves[at] as number);
  }

  /** Takes `bytes` off the front, which a call has moved: the rest moves to the start of the array. */
  advance(bytes: number): void {
    let left = anInt(bytes, "bytes", 0, this.#byteLength);
    if (left === this.#byteLength) {
      this.clear();
      return;
    }
    this.#byteLength -= left;
    let first = 0;
    for (; first < this.#count; first++) {
      const length = this.#get(first * HALVES + LENGTH);
      if (left < length) break;
      left -= length;
    }
    this.#halves.copyWithin(0, first * HALVES, this.#count * HALVES);
    this.#count -= first;
    if (left === 0) return;
    const address = this.#get(BASE) + left;
    this.#halves[BASE] = address;
    this.#halves[BASE + 1] = address / 0x1_0000_0000;
    const length = this.#get(LENGTH) - left;
    this.#putLength(0, length);
    if (this.#count === 1) this.#lastLength = length;
  }
}
