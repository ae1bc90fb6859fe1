import { MADV_POPULATE_WRITE, tryMadvise } from "@baton/linux";
import { RAM_FLAG, STREAM_PAGE_SIZE } from "./format.js";
import type { BlockCount, PageBlock } from "./page-block.js";
import type { PageTarget } from "./page-reader.js";
import { RamView, TouchedPages } from "./ram-view.js";

/** A checksum is taken of so much at once, while it is in the cache. */
const RUN_BYTES = 2 ** 20;
/** Pages that follow each other are allocated by one call, which costs as much as some faults. */
const POPULATE_BYTES = 8 * STREAM_PAGE_SIZE;

interface Entry {
  readonly id: string;
  readonly ram: RamView;
  readonly touched: TouchedPages;
  pages: number;
  zeroPages: number;
}

/** Puts the pages of a stream into memory and takes their checksum. */
export class RamTarget implements PageTarget {
  pageCrc: number;
  pages = 0;
  zeroPages = 0;
  readonly #entries: Map<string, Entry>;
  #entry: Entry | undefined;
  #runStart = 0;
  #runEnd = 0;
  /** What was looked at for that. */
  #aheadStart = 0;
  #aheadEnd = 0;

  constructor(blocks: readonly PageBlock[], pageCrc: number) {
    this.pageCrc = pageCrc;
    this.#entries = new Map(
      blocks.map((block) => [
        block.id,
        { id: block.id, ram: new RamView(block), touched: new TouchedPages(block), pages: 0, zeroPages: 0 },
      ]),
    );
  }

  select(id: string): number | undefined {
    this.#closeRun();
    this.#aheadStart = this.#aheadEnd = 0;
    this.#entry = this.#entries.get(id);
    return this.#entry?.ram.size;
  }

  page(offset: number, buffer: Uint8Array, at: number, end: number): void {
    const entry = this.#entry as Entry;
    if (offset < this.#aheadStart || offset >= this.#aheadEnd) {
      this.#aheadStart = offset;
      this.#aheadEnd = Math.min(offset + runAhead(offset, buffer, at, end), entry.ram.size);
      const length = this.#aheadEnd - offset;
      // Where this fails, the faults say why.
      if (length >= POPULATE_BYTES) tryMadvise(entry.ram.hva + BigInt(offset), length, MADV_POPULATE_WRITE);
    }
    if (offset !== this.#runEnd || offset - this.#runStart >= RUN_BYTES) {
      this.#closeRun();
      this.#runStart = offset;
    }
    entry.ram.set(offset, buffer.subarray(at, at + STREAM_PAGE_SIZE));
    this.#runEnd = offset + STREAM_PAGE_SIZE;
    entry.pages++;
    this.pages++;
  }

  zero(offset: number): void {
    const entry = this.#entry as Entry;
    // The page may be one of the run, which is summed as it came.
    this.#closeRun();
    entry.touched.clear(offset);
    entry.zeroPages++;
    this.zeroPages++;
  }

  #closeRun(): void {
    const length = this.#runEnd - this.#runStart;
    if (length > 0 && this.#entry) {
      this.pageCrc = this.#entry.ram.crc(this.#runStart, length, this.pageCrc);
      this.#entry.touched.add(this.#runStart, length);
    }
    this.#runStart = this.#runEnd = -1;
  }

  /** Ends the last run; what each block got. */
  finish(): BlockCount[] {
    this.#closeRun();
    return [...this.#entries.values()].map(({ id, pages, zeroPages }) => ({ id, pages, zeroPages }));
  }
}

/** How many bytes of pages in a row the buffer has, from the one at `at` on. */
function runAhead(offset: number, buffer: Uint8Array, at: number, end: number): number {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  let length = STREAM_PAGE_SIZE;
  for (let next = at + STREAM_PAGE_SIZE; next + 8 + STREAM_PAGE_SIZE <= end; next += 8 + STREAM_PAGE_SIZE) {
    const page = offset + length;
    if (view.getUint32(next) !== Math.floor(page / 2 ** 32)) break;
    if (view.getUint32(next + 4) !== ((page >>> 0) | RAM_FLAG.page | RAM_FLAG.continue) >>> 0) break;
    length += STREAM_PAGE_SIZE;
  }
  return length;
}
