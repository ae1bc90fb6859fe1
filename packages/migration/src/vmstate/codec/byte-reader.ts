import { plainBytes } from "./plain-bytes.js";

/** Big-endian bytes of a buffer that is not trusted. Reading past the end throws what `truncated` makes. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #base: number;
  #offset: number;
  #start: number;
  #starved = false;
  /** Makes the error for bytes that are missing. */
  truncated: (needed: number, left: number) => Error = (needed, left) =>
    new RangeError(`${needed} bytes needed, ${left} left`);

  /** Starts at `offset`; `base` is where `bytes` start in what they are a part of, for {@link ByteReader.start}. */
  constructor(bytes: Uint8Array, offset = 0, base = 0) {
    this.#bytes = plainBytes(bytes);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#base = base;
    this.#offset = offset;
    this.#start = offset;
  }

  /** Where the next item starts, in bytes. */
  get offset(): number {
    return this.#offset;
  }

  /** Where the item that was read last, or could not be read, starts. */
  get start(): number {
    return this.#base + this.#start;
  }

  /** Whether a {@link ByteReader.peek} asked for bytes that are not there: with more of them it may answer otherwise. */
  get starved(): boolean {
    return this.#starved;
  }

  /** Bytes that follow. */
  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  #take(count: number): number {
    const at = this.#offset;
    this.#start = at;
    if (count > this.left) throw this.truncated(count, this.left);
    this.#offset = at + count;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }

  /** A copy. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.slice(at, at + count);
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** `count` bytes from `ahead` bytes after the next item, without reading them; undefined when they are not there. */
  peek(ahead: number, count: number): Uint8Array | undefined {
    if (ahead + count > this.left) {
      this.#starved = true;
      return undefined;
    }
    const at = this.#offset + ahead;
    return this.#bytes.subarray(at, at + count);
  }
}
