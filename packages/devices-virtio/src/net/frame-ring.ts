import { addressOf, BatonError, IoUring, IoVector } from "@baton/linux";
import type { Chain } from "../queue/chain.js";

/** Frames of a batch. */
const FRAMES = 16;
/** Pieces of memory of a frame: more than Linux makes of one (a page each, for 64 KiB). */
const PIECES = 32;

/** A place for a frame of a batch. */
interface Place {
  readonly vector: IoVector;
  readonly iov: number;
  chain: Chain | undefined;
  result: number;
}

/** Frames that a tap takes together: one system call carries out all of a batch, in its order. */
export class FrameRing {
  readonly #ring: IoUring;
  readonly #fd: number;
  readonly #places: readonly Place[];
  readonly #results = new Int32Array(2 * FRAMES);
  #count = 0;

  private constructor(ring: IoUring, fd: number) {
    this.#ring = ring;
    this.#fd = fd;
    this.#places = Array.from({ length: FRAMES }, () => {
      const vector = new IoVector(PIECES);
      return { vector, iov: Number(addressOf(vector.words)), chain: undefined, result: 0 };
    });
  }

  /** For a tap, which is non-blocking; undefined where the kernel has no io_uring for this process. */
  static open(fd: number): FrameRing | undefined {
    try {
      return new FrameRing(IoUring.open({ entries: FRAMES }), fd);
    } catch (error) {
      if (BatonError.is(error, "IO_URING_UNAVAILABLE")) return undefined;
      throw error;
    }
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count === FRAMES;
  }

  /** Adds a frame of `length` bytes; false, and nothing is added, for one of more pieces than a place takes. */
  add(chain: Chain, length: number): boolean {
    const place = this.#places[this.#count] as Place;
    place.vector.clear();
    if (chain.gatherReadable(place.vector) < length) return false;
    place.chain = chain;
    this.#count++;
    return true;
  }

  /** Sends the batch: {@link FrameRing.result} then has what became of each. */
  carryOut(): void {
    const ring = this.#ring;
    for (let i = 0; i < this.#count; i++) {
      const { iov, vector } = this.#places[i] as Place;
      ring.writev(this.#fd, iov, vector.count, 0, false, i);
    }
    ring.submit();
    for (;;) {
      const count = ring.reap(this.#results);
      for (let i = 0; i < count; i++) {
        (this.#places[this.#results[2 * i] as number] as Place).result = this.#results[2 * i + 1] as number;
      }
      if (ring.underWay === 0) return;
      if (count === 0) ring.wait();
    }
  }

  chain(index: number): Chain {
    return this.#places[index]?.chain as Chain;
  }

  /** The pieces of a frame. */
  vector(index: number): IoVector {
    return this.#places[index]?.vector as IoVector;
  }

  /** What became of a frame: its bytes, or the negative error number. */
  result(index: number): number {
    return this.#places[index]?.result as number;
  }

  /** Makes it empty. */
  clear(): void {
    for (let i = 0; i < this.#count; i++) (this.#places[i] as Place).chain = undefined;
    this.#count = 0;
  }

  close(): void {
    this.#ring.close();
  }
}
