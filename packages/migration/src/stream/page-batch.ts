import { addressOf, IoVector } from "@baton/linux";
import { crc32 } from "@node-rs/crc32";
import { RAM_FLAG, STREAM_PAGE_SIZE } from "./format.js";
import type { RamView } from "./ram-view.js";

const HEADER_ROOM = 32 * 1024;
/** A record's first word, name, length byte and fill byte. */
const LONGEST_RECORD = 8 + 256 + 1;

/** What the records of one batch are made of. */
class Pieces {
  readonly vector = new IoVector();
  readonly headers = new Uint8Array(HEADER_ROOM);
  readonly view = new DataView(this.headers.buffer);
  readonly hva = Number(addressOf(this.headers));
}

/**
 * Records of pages, gathered until they are worth a system call: headers here, contents where they are. There are two
 * batches, which take turns, so that one may still be written while the other one is gathered.
 */
export class PageBatch {
  streamCrc: number;
  pageCrc: number;
  readonly #mostPages: number;
  #pieces = new Pieces();
  #others = new Pieces();
  #used = 0;
  #pages = 0;
  #ram: RamView | undefined;
  #hva = 0;
  #name = new Uint8Array();
  #named = false;
  #runStart = 0;
  #runEnd = 0;

  /** Of at most `mostPages` pages with content each, no more than half of what a vector holds. */
  constructor(mostPages: number, streamCrc: number, pageCrc: number) {
    this.#mostPages = mostPages;
    this.streamCrc = streamCrc;
    this.pageCrc = pageCrc;
  }

  /** What to write. */
  get vector(): IoVector {
    return this.#pieces.vector;
  }

  /** Whether what was added must be written before more is. */
  get full(): boolean {
    return this.#pages >= this.#mostPages || this.#used > HEADER_ROOM - LONGEST_RECORD;
  }

  /** Goes to another block. */
  begin(id: string, ram: RamView): void {
    this.#closeRun();
    this.#ram = ram;
    this.#hva = Number(ram.hva);
    this.#name = new TextEncoder().encode(id);
    this.#named = false;
  }

  /** Puts a header; where it ends. */
  #record(offset: number, flag: number): number {
    const { view, headers } = this.#pieces;
    const at = this.#used;
    // Offsets stay below 2^53: the halves are exact.
    view.setUint32(at, offset / 2 ** 32);
    view.setUint32(at + 4, offset | flag | (this.#named ? RAM_FLAG.continue : 0));
    if (this.#named) return at + 8;
    this.#named = true;
    headers[at + 8] = this.#name.length;
    headers.set(this.#name, at + 9);
    return at + 9 + this.#name.length;
  }

  /** Adds zero pages from `offset` to `end`, or until it is full; where it came to. */
  zeros(offset: number, end: number): number {
    const { vector, headers, hva } = this.#pieces;
    const start = this.#used;
    let at = offset;
    for (; at < end && !this.full; at += STREAM_PAGE_SIZE) {
      const filler = this.#record(at, RAM_FLAG.zero);
      headers[filler] = 0;
      this.#used = filler + 1;
    }
    vector.add(hva + start, this.#used - start);
    return at;
  }

  /** Adds pages with content, as {@link PageBatch.zeros} does. */
  pages(offset: number, end: number): number {
    const { vector, hva } = this.#pieces;
    let at = offset;
    for (; at < end && !this.full; at += STREAM_PAGE_SIZE) {
      const start = this.#used;
      this.#used = this.#record(at, RAM_FLAG.page);
      vector.add(hva + start, this.#used - start);
      vector.add(this.#hva + at, STREAM_PAGE_SIZE);
      this.#pages++;
    }
    if (offset !== this.#runEnd) {
      this.#closeRun();
      this.#runStart = offset;
    }
    this.#runEnd = at;
    return at;
  }

  #closeRun(): void {
    if (this.#runEnd > this.#runStart && this.#ram) {
      this.pageCrc = this.#ram.crc(this.#runStart, this.#runEnd - this.#runStart, this.pageCrc);
    }
    this.#runStart = this.#runEnd = -1;
  }

  /** Takes the checksums of what was added. */
  seal(): void {
    this.#closeRun();
    this.streamCrc = crc32(this.#pieces.headers.subarray(0, this.#used), this.streamCrc);
  }

  /** Goes on with the other batch, empty: it must have been written. */
  turn(): void {
    [this.#pieces, this.#others] = [this.#others, this.#pieces];
    this.#pieces.vector.clear();
    this.#used = 0;
    this.#pages = 0;
  }
}
