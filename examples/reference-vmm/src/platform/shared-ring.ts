/**
 * A ring of bytes in shared memory with one reader and one writer at a time. Positions count bytes since the start and
 * wrap at 2^32. Words: 0 written, 1 read, 2 dropped.
 */
export class SharedRing {
  readonly #positions: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  /** `capacity` is a power of two, in bytes; the ring takes `capacity + 16` bytes of the buffer. */
  constructor(buffer: SharedArrayBuffer, offset: number, capacity: number) {
    this.#positions = new Int32Array(buffer, offset, 3);
    this.#bytes = new Uint8Array(buffer, offset + 16, capacity);
    this.#mask = capacity - 1;
  }

  /** Bytes of the buffer that a ring of this capacity takes. */
  static size(capacity: number): number {
    return capacity + 16;
  }

  get capacity(): number {
    return this.#mask + 1;
  }

  /** Bytes waiting to be read. */
  get length(): number {
    return (Atomics.load(this.#positions, 0) - Atomics.load(this.#positions, 1)) >>> 0;
  }

  /** Bytes that were thrown away because the ring was full. */
  get dropped(): number {
    return Atomics.load(this.#positions, 2) >>> 0;
  }

  /** Appends a byte; false, and counted as dropped, when the ring is full. */
  push(byte: number): boolean {
    const written = Atomics.load(this.#positions, 0);
    if ((written - Atomics.load(this.#positions, 1)) >>> 0 > this.#mask) {
      Atomics.add(this.#positions, 2, 1);
      return false;
    }
    this.#bytes[written & this.#mask] = byte;
    Atomics.store(this.#positions, 0, (written + 1) | 0);
    return true;
  }

  /** Takes the oldest byte; -1 when there is none. */
  shift(): number {
    const read = Atomics.load(this.#positions, 1);
    if (read === Atomics.load(this.#positions, 0)) return -1;
    const byte = this.#bytes[read & this.#mask] as number;
    Atomics.store(this.#positions, 1, (read + 1) | 0);
    return byte;
  }

  /** Copies what waits, up to `limit` bytes, without taking it. */
  peek(limit = this.capacity): Uint8Array {
    const read = Atomics.load(this.#positions, 1);
    return Uint8Array.from(
      { length: Math.min(this.length, limit) },
      (_, i) => this.#bytes[(read + i) & this.#mask] as number,
    );
  }

  /** Takes `count` bytes that were peeked at, and wakes a writer that waits for room. */
  consume(count: number): void {
    Atomics.store(this.#positions, 1, (Atomics.load(this.#positions, 1) + count) | 0);
    Atomics.notify(this.#positions, 1);
  }

  /** Sleeps until the reader has taken something, or `timeoutMs` have passed; not on the embedder's thread. */
  waitForRoom(timeoutMs: number): void {
    Atomics.wait(this.#positions, 1, Atomics.load(this.#positions, 1), timeoutMs);
  }
}
