import { crc32 } from "@node-rs/crc32";
import { STREAM_PAGE_SIZE } from "../stream/format.js";
import type { PageTarget } from "../stream/page-reader.js";
import type { ListedBlock } from "../stream/ram-list.js";

/** Counts the pages of a stream and takes their checksum. */
export class CountingTarget implements PageTarget {
  pageCrc = 0;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #counts = new Map<string, { pages: number; zeroPages: number }>();
  #count = { pages: 0, zeroPages: 0 };

  constructor(blocks: readonly ListedBlock[]) {
    this.#sizes = new Map(blocks.map(({ id, size }) => [id, Number(size)]));
    for (const { id } of blocks) this.#counts.set(id, { pages: 0, zeroPages: 0 });
  }

  select(id: string): number | undefined {
    this.#count = this.#counts.get(id) ?? this.#count;
    return this.#sizes.get(id);
  }

  page(_offset: number, buffer: Uint8Array, at: number): void {
    this.pageCrc = crc32(buffer.subarray(at, at + STREAM_PAGE_SIZE), this.pageCrc);
    this.#count.pages++;
  }

  zero(): void {
    this.#count.zeroPages++;
  }

  /** The pages of a block. */
  countOf(id: string): { readonly pages: number; readonly zeroPages: number } {
    return this.#counts.get(id) ?? { pages: 0, zeroPages: 0 };
  }

  /** Puts in what was counted elsewhere. */
  add(id: string, pages: number, zeroPages: number): void {
    this.#counts.set(id, { pages, zeroPages });
  }
}
