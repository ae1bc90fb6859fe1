import { addressOf, IoVector } from "@baton/linux";
import { crc32 } from "@node-rs/crc32";
import { RAM_FLAG, STREAM_PAGE_SIZE } from "./format.js";
import type { RamView } from "./ram-view.js";

/** Few enough that the other side of a socket has something to do while the next ones are gathered. */
const MOST_PAGES = 64;
const HEADER_ROOM = 32 * 1024;
/** A record's first word, name, length byte and fill byte. */
const LONGEST_RECORD = 8 + 256 + 1;

/** Records of pages, gathered until they are worth a system call: headers here, contents where they are. */
export class PageBatch {
  /** What to write; empty it before more is added. */
  readonly vector = new IoVector();
  streamCrc: number;
  pageCrc: number;
  readonly #headers = new Uint8Array(HEADER_ROOM);
  readonly #view = new DataView(this.#headers.buffer);
  readonly #headersAt = Number(addressOf(this.#headers));
  #used = 0;
  #ram: RamView | undefined;
  #hva = 0;
  #name = new Uint8Array();
  #named = false;
  #runStart = 0;
  #runEnd = 0;
  #pages = 0;

  constructor(streamCrc: number, pageCrc: number) {
    this.streamCrc = streamCrc;
    this.pageCrc = pageCrc;
  }

  /** Whether what was added must be written before more is. */
  get full(): boolean {
    return this.#pages >= MOST_PAGES || this.#used > HEADER_ROOM - LONGEST_RECORD;
  }

  /** Goes to another block. */
  begin(id: string, ram: RamView): void {
    this.#closeRun();
    this.#ram = ram;
    this.#hva = Number(ram.hva);
    this.#name = new TextEncoder().encode(id);
    this.#named = false;
  }

  #record(offset: number, flag: number): number {
    const start = this.#used;
    // Offsets stay below 2^53: the halves are exact.
    this.#view.setUint32(start, Math.floor(offset / 2 ** 32));
    this.#view.setUint32(start + 4, ((offset >>> 0) | flag | (this.#named ? RAM_FLAG.continue : 0)) >>> 0);
    this.#used = start + 8;
    if (!this.#named) {
      this.#headers[this.#used++] = this.#name.length;
      this.#headers.set(this.#name, this.#used);
      this.#used += this.#name.length;
      this.#named = true;
    }
    return start;
  }

  #add(start: number): void {
    this.vector.add(this.#headersAt + start, this.#used - start);
  }

  zero(offset: number): void {
    const start = this.#record(offset, RAM_FLAG.zero);
    this.#headers[this.#used++] = 0;
    this.#add(start);
  }

  page(offset: number): void {
    this.#add(this.#record(offset, RAM_FLAG.page));
    this.vector.add(this.#hva + offset, STREAM_PAGE_SIZE);
    this.#pages++;
    if (offset !== this.#runEnd) {
      this.#closeRun();
      this.#runStart = offset;
    }
    this.#runEnd = offset + STREAM_PAGE_SIZE;
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
    this.streamCrc = crc32(this.#headers.subarray(0, this.#used), this.streamCrc);
  }

  /** Makes room, after what was added has been written. */
  reset(): void {
    this.vector.clear();
    this.#used = 0;
    this.#pages = 0;
  }
}
