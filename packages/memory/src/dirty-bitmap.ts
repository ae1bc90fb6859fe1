import { BatonError } from "@baton/linux";
import { PAGE_SIZE } from "./backend/backend.js";

/** A run of dirty pages within a block, in bytes. */
export interface DirtyRange {
  readonly offset: number;
  readonly length: number;
}

/** The bits `from` to `to` (exclusive) of a word. */
function bits(from: number, to: number): number {
  return to - from === 32 ? 0xffffffff : (((1 << (to - from)) - 1) << from) >>> 0;
}

/**
 * A bit per page of 4096 bytes, in shared memory: any thread may mark at any time. A mark is a full memory barrier, so
 * who takes it also sees the data that was written before.
 */
export class DirtyBitmap {
  readonly buffer: SharedArrayBuffer;
  readonly words: Uint32Array;
  readonly #pages: number;

  /** Over `buffer`, which another thread made; else a new, clean one. `size` in bytes, whole pages. */
  constructor(size: number, buffer?: SharedArrayBuffer) {
    this.#pages = size / PAGE_SIZE;
    const words = Math.ceil(this.#pages / 32);
    this.buffer = buffer ?? new SharedArrayBuffer(words * 4);
    this.words = new Uint32Array(this.buffer, 0, words);
  }

  get pages(): number {
    return this.#pages;
  }

  /** Marks every page that [offset, offset + length) touches, in bytes. Throws `MEMORY_OUT_OF_BOUNDS`. */
  mark(offset: number, length: number): void {
    if (length === 0) return;
    const first = Math.floor(offset / PAGE_SIZE);
    const last = Math.floor((offset + length - 1) / PAGE_SIZE);
    if (!(offset >= 0 && length > 0 && last < this.#pages)) {
      throw new BatonError(
        "MEMORY_OUT_OF_BOUNDS",
        `dirty mark: ${length} bytes at offset ${offset} are not within ${this.#pages} pages`,
      );
    }
    if (first === last) {
      Atomics.or(this.words, first >>> 5, 1 << (first & 31));
      return;
    }
    for (let page = first; page <= last; ) {
      const from = page & 31;
      const to = Math.min(32, from + last - page + 1);
      Atomics.or(this.words, page >>> 5, bits(from, to));
      page += to - from;
    }
  }

  /** Marks the bits of words that KVM or another bitmap gave, from the page `firstPage` on, a multiple of 32. */
  mergeWords(words: Uint32Array, firstPage = 0): void {
    if (firstPage % 32 !== 0) {
      throw new BatonError("INVALID_ARGUMENT", `dirty words start at page ${firstPage}, which is not a multiple of 32`);
    }
    const base = firstPage / 32;
    for (let i = 0; i < words.length; i++) {
      const word = words[i] as number;
      if (word === 0) continue;
      // KVM rounds its bitmaps up to 64 pages.
      const valid = Math.min(32, this.#pages - (base + i) * 32);
      if (valid <= 0) break;
      Atomics.or(this.words, base + i, valid === 32 ? word : word & bits(0, valid));
    }
  }

  /** Marks all pages. */
  markAll(): void {
    this.mark(0, this.#pages * PAGE_SIZE);
  }

  /** Moves all marks to `targets`, leaving this bitmap clean; marks made meanwhile are moved now or stay. */
  drainInto(targets: readonly DirtyBitmap[]): void {
    const { words } = this;
    for (let i = 0; i < words.length; i++) {
      if (words[i] === 0) continue;
      const word = Atomics.exchange(words, i, 0);
      for (const target of targets) Atomics.or(target.words, i, word);
    }
  }

  /** Takes all marks, as runs in ascending order, leaving the bitmap clean. */
  take(): DirtyRange[] {
    const ranges: DirtyRange[] = [];
    this.drain((offset, length) => ranges.push({ offset, length }));
    return ranges;
  }

  /** Like {@link DirtyBitmap.take}, but calls `each` with every run, in bytes, and makes no objects. */
  drain(each: (offset: number, length: number) => void): void {
    const { words } = this;
    let start = -1;
    const close = (page: number) => {
      const first = start;
      start = -1;
      each(first * PAGE_SIZE, (page - first) * PAGE_SIZE);
    };
    for (let i = 0; i < words.length; i++) {
      const page = i << 5;
      if (words[i] === 0) {
        if (start >= 0) close(page);
        continue;
      }
      const word = Atomics.exchange(words, i, 0);
      if (word === 0xffffffff) {
        if (start < 0) start = page;
        continue;
      }
      for (let at = 0; at < 32; ) {
        // The next page that differs from the one before.
        const rest = (start < 0 ? word : ~word) >>> at;
        if (rest === 0) break;
        at += 31 - Math.clz32(rest & -rest);
        if (start < 0) start = page + at;
        else close(page + at);
      }
    }
    if (start >= 0) close(this.#pages);
  }

  /** The number of marked pages now. */
  count(): number {
    let n = 0;
    for (let i = 0; i < this.words.length; i++) {
      let word = this.words[i] as number;
      if (word === 0xffffffff) n += 32;
      else for (; word !== 0; word &= word - 1) n++;
    }
    return n;
  }
}
