import { MADV_POPULATE_WRITE, tryMadvise } from "@baton/linux";
import { STREAM_PAGE_SIZE } from "./format.js";
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
    this.#entry = this.#entries.get(id);
    return this.#entry?.ram.size;
  }

  expect(offset: number, length: number): void {
    const { ram } = this.#entry as Entry;
    // Where this fails, the faults say why.
    if (length >= POPULATE_BYTES) tryMadvise(ram.hva + BigInt(offset), length, MADV_POPULATE_WRITE);
  }

  page(offset: number, buffer: Uint8Array, at: number): void {
    const entry = this.#entry as Entry;
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
