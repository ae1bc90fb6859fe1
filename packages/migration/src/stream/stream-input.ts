import { crc32 } from "@node-rs/crc32";
import { streamError } from "./stream-error.js";

/** Asks for more bytes to be put into a {@link StreamInput}. */
export interface NeedBytes {
  readonly kind: "bytes";
}

/** What a parser yields to ask for more bytes. */
export const NEED_BYTES: NeedBytes = { kind: "bytes" };

/** Small pieces are gathered before their checksum is taken: a call for each would cost more than the sum. */
const GATHERED = 32 * 1024;
const SMALL = 64;

/**
 * The bytes of a stream as they come, in a buffer that does not grow beyond what was asked for. Everything that is
 * taken goes into the checksum, but for what is skipped as pages. Parsers are generators that yield
 * {@link NEED_BYTES}: the same code runs on a thread that blocks, in an event loop, and over bytes in memory.
 */
export class StreamInput {
  #buffer: Uint8Array;
  #view: DataView;
  /** The next byte, the end of what is there, and the first byte that is not in the checksum yet. */
  #start = 0;
  #end = 0;
  #mark = 0;
  /** Where the buffer's first byte stands in the stream. */
  #base: number;
  #ended = false;
  #crc: number;
  readonly #gathered = new Uint8Array(GATHERED);
  #gatheredBytes = 0;

  /** Starts at `offset` bytes of the stream with the checksum `crc` of what came before. */
  constructor(capacity: number, offset = 0, crc = 0) {
    this.#buffer = new Uint8Array(capacity);
    this.#view = new DataView(this.#buffer.buffer);
    this.#base = offset;
    this.#crc = crc;
  }

  /** Where the next byte stands in the stream. */
  get offset(): number {
    return this.#base + this.#start;
  }

  /** Bytes that are there. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** Whether no more will come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The buffer that {@link StreamInput.at} counts in. */
  get buffer(): Uint8Array {
    return this.#buffer;
  }

  /** Where in the buffer the next byte is. */
  get at(): number {
    return this.#start;
  }

  /** What is there, without taking it. */
  peek(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Room for at least `least` more bytes; {@link StreamInput.filled} then says how many came. */
  room(least = 1): Uint8Array {
    if (this.#start === this.#end) {
      this.#fold();
      this.#base += this.#start;
      this.#start = this.#end = this.#mark = 0;
    }
    if (this.#buffer.length - this.#end < least) this.#makeRoom(least);
    return this.#buffer.subarray(this.#end);
  }

  #makeRoom(least: number): void {
    this.#fold();
    const kept = this.peek();
    const size = kept.length + least;
    let target = this.#buffer;
    if (size > target.length) {
      target = new Uint8Array(Math.max(size, 2 * target.length));
      this.#view = new DataView(target.buffer);
    }
    target.set(kept);
    this.#buffer = target;
    this.#base += this.#start;
    this.#end = kept.length;
    this.#start = this.#mark = 0;
  }

  /** Says how many bytes came; none is the end. */
  filled(bytes: number): void {
    if (bytes === 0) this.#ended = true;
    this.#end += bytes;
  }

  /** Puts bytes at the end; none is the end. */
  append(bytes: Uint8Array): void {
    if (bytes.length > 0) this.room(bytes.length).set(bytes);
    this.filled(bytes.length);
  }

  /** Waits until `count` bytes are there. Throws `STREAM_TRUNCATED`. */
  *need(count: number): Generator<NeedBytes, void, void> {
    while (this.available < count) {
      if (this.#ended) {
        throw streamError(
          "STREAM_TRUNCATED",
          `the stream ends: ${count} bytes are needed, ${this.available} are left`,
          this.offset,
        );
      }
      yield NEED_BYTES;
    }
  }

  u8(): number {
    return this.#buffer[this.#start++] as number;
  }

  u16(): number {
    this.#start += 2;
    return this.#view.getUint16(this.#start - 2);
  }

  u32(): number {
    this.#start += 4;
    return this.#view.getUint32(this.#start - 4);
  }

  u64(): bigint {
    this.#start += 8;
    return this.#view.getBigUint64(this.#start - 8);
  }

  /** A copy. */
  bytes(count: number): Uint8Array {
    this.#start += count;
    return this.#buffer.slice(this.#start - count, this.#start);
  }

  /** Takes bytes that were looked at with {@link StreamInput.peek}. */
  skip(count: number): void {
    this.#start += count;
  }

  /** Takes bytes without putting them into the checksum. */
  skipPage(count: number): void {
    this.#fold();
    this.#start += count;
    this.#mark = this.#start;
  }

  /** Goes on elsewhere in the file with nothing read ahead. */
  jump(offset: number, crc = this.crc): void {
    this.#crc = crc;
    this.#gatheredBytes = 0;
    this.#base = offset;
    this.#start = this.#end = this.#mark = 0;
    this.#ended = false;
  }

  /** The checksum of everything that was taken but pages. */
  get crc(): number {
    this.#fold();
    this.#flush();
    return this.#crc;
  }

  #fold(): void {
    const count = this.#start - this.#mark;
    if (count === 0) return;
    if (count <= SMALL) {
      if (this.#gatheredBytes + count > GATHERED) this.#flush();
      const { buffer } = this;
      const gathered = this.#gathered;
      let to = this.#gatheredBytes;
      for (let i = this.#mark, end = this.#start; i < end; i++) gathered[to++] = buffer[i] as number;
      this.#gatheredBytes = to;
    } else {
      this.#flush();
      this.#crc = crc32(this.#buffer.subarray(this.#mark, this.#start), this.#crc);
    }
    this.#mark = this.#start;
  }

  #flush(): void {
    if (this.#gatheredBytes === 0) return;
    this.#crc = crc32(this.#gathered.subarray(0, this.#gatheredBytes), this.#crc);
    this.#gatheredBytes = 0;
  }
}
