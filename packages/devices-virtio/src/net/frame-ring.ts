import { addressOf, EOPNOTSUPP, IoUring, IoVector, RWF_NOWAIT } from "@baton/linux";

/** The most frames of a batch. */
export const BATCH_FRAMES = 32;
/** Pieces of memory of a frame: more than Linux makes of one (a page each, for 64 KiB). */
const PIECES = 32;

/** Frames that a tap takes or gives together: one system call carries out all of a batch, in its order. */
export class FrameRing {
  /** What became of each frame of a batch: its bytes, or the negative error number. */
  readonly results = new Int32Array(BATCH_FRAMES);
  readonly #vectors: readonly IoVector[];
  readonly #addresses: readonly number[];
  readonly #ring: IoUring;
  readonly #fd: number;
  readonly #pairs = new Int32Array(2 * BATCH_FRAMES);

  private constructor(ring: IoUring, fd: number) {
    this.#ring = ring;
    this.#fd = fd;
    this.#vectors = Array.from({ length: BATCH_FRAMES }, () => new IoVector(PIECES));
    this.#addresses = this.#vectors.map(({ words }) => Number(addressOf(words)));
  }

  /** For a tap; undefined where the kernel has no io_uring for this process, or not for taps: before Linux 6.4. */
  static open(fd: number): FrameRing | undefined {
    const inner = IoUring.openIfAvailable({ entries: BATCH_FRAMES });
    if (inner === undefined) return undefined;
    const ring = new FrameRing(inner, fd);
    // A frame without a byte is none; what matters is whether it is refused for that.
    ring.send(1);
    if (ring.results[0] !== -EOPNOTSUPP) return ring;
    ring.close();
    return undefined;
  }

  /** The pieces of one frame of the next batch, to be filled. */
  vector(index: number): IoVector {
    return this.#vectors[index] as IoVector;
  }

  /** Sends the first `count` frames, and leaves {@link FrameRing.results}. */
  send(count: number): void {
    this.#carryOut(count, true);
  }

  /** Receives up to `count` frames, and leaves {@link FrameRing.results}. */
  receive(count: number): void {
    this.#carryOut(count, false);
  }

  #carryOut(count: number, sends: boolean): void {
    const ring = this.#ring;
    for (let i = 0; i < count; i++) {
      const iov = this.#addresses[i] as number;
      const pieces = this.vector(i).count;
      // Without the flag the kernel would wait for a frame, non-blocking or not.
      if (sends) ring.writev(this.#fd, iov, pieces, 0, RWF_NOWAIT, i);
      else ring.readv(this.#fd, iov, pieces, 0, RWF_NOWAIT, i);
    }
    ring.submit();
    const pairs = this.#pairs;
    for (;;) {
      const count = ring.reap(pairs);
      for (let i = 0; i < count; i++) this.results[pairs[2 * i] as number] = pairs[2 * i + 1] as number;
      if (ring.underWay === 0) return;
      if (count === 0) ring.wait();
    }
  }

  close(): void {
    this.#ring.close();
  }
}
