import { addressOf, IoUring, type IoVector } from "@baton/linux";
import type { DescriptorIo } from "./descriptor-io.js";

/** Has the kernel write to a file while the calling thread gathers what comes next. */
export class WriteBehind {
  readonly #io: DescriptorIo;
  readonly #ring: IoUring;
  readonly #result = new Int32Array(2);
  #writing: IoVector | undefined;

  private constructor(io: DescriptorIo, ring: IoUring) {
    this.#io = io;
    this.#ring = ring;
  }

  /** None for what is no file, or where there is no io_uring. */
  static open(io: DescriptorIo): WriteBehind | undefined {
    if (io.position === undefined) return undefined;
    const ring = IoUring.openIfAvailable({ entries: 1, async: true });
    return ring && new WriteBehind(io, ring);
  }

  /** Starts to write all pieces once those before are written. The vector is empty when that is so. */
  write(vector: IoVector): void {
    const io = this.#io;
    this.finish();
    io.checkCancelled();
    this.#ring.writev(io.fd, Number(addressOf(vector.words)), vector.count, io.position as number, 0, 0);
    this.#ring.submit();
    this.#writing = vector;
  }

  /** Waits until everything is written. */
  finish(): void {
    const vector = this.#writing;
    if (!vector) return;
    this.#wait();
    const io = this.#io;
    const moved = Math.max(0, this.#result[1] as number);
    vector.advance(moved);
    io.seek((io.position as number) + moved);
    // What is left failed, or may: this says why.
    io.writeVector(vector);
  }

  #wait(): void {
    this.#writing = undefined;
    while (this.#ring.underWay > 0) {
      this.#ring.wait();
      this.#ring.reap(this.#result);
    }
  }

  /** Waits until the kernel is done with the pieces. */
  close(): void {
    this.#wait();
    this.#ring.close();
  }
}
