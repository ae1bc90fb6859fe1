import { memset, view } from "@baton/linux";
import { dataRanges } from "@baton/memory";
import { crc32 } from "@node-rs/crc32";
import { STREAM_PAGE_SIZE } from "./format.js";
import type { PageBlock } from "./page-block.js";

const WINDOW = 2 ** 30;

/** A block's memory in windows of 1 GiB, for checksums and copies. */
export class RamView {
  readonly hva: bigint;
  readonly size: number;
  readonly #windows: Uint8Array[] = [];

  constructor(block: PageBlock) {
    this.hva = block.hva;
    this.size = Number(block.size);
    for (let at = 0; at < this.size; at += WINDOW) {
      this.#windows.push(new Uint8Array(view(block.hva + BigInt(at), Math.min(WINDOW, this.size - at))));
    }
  }

  /** The checksum `crc` continued over a range. */
  crc(offset: number, length: number, crc: number): number {
    let sum = crc;
    for (let at = offset; at < offset + length; ) {
      const within = at % WINDOW;
      const count = Math.min(offset + length - at, WINDOW - within);
      const window = this.#windows[Math.floor(at / WINDOW)] as Uint8Array;
      sum = crc32(window.subarray(within, within + count), sum);
      at += count;
    }
    return sum;
  }

  /** Puts a page in its place. */
  set(offset: number, page: Uint8Array): void {
    (this.#windows[Math.floor(offset / WINDOW)] as Uint8Array).set(page, offset % WINDOW);
  }
}

/** Which pages of a block may hold something: the others are zero already, and writing zeros would allocate them. */
export class TouchedPages {
  readonly #bits: Uint8Array;
  readonly #hva: bigint;

  constructor(block: PageBlock) {
    this.#hva = block.hva;
    this.#bits = new Uint8Array(Math.ceil(Number(block.size) / STREAM_PAGE_SIZE / 8));
    for (const { offset, length } of dataRanges(block)) this.add(offset, length);
  }

  add(offset: number, length: number): void {
    const last = (offset + length) / STREAM_PAGE_SIZE;
    for (let page = offset / STREAM_PAGE_SIZE; page < last; ) {
      if (page % 8 === 0 && last - page >= 8) {
        const bytes = Math.floor((last - page) / 8);
        this.#bits.fill(0xff, page / 8, page / 8 + bytes);
        page += bytes * 8;
      } else {
        this.#bits[page >>> 3]! |= 1 << (page & 7);
        page++;
      }
    }
  }

  /** Makes a page zero. */
  clear(offset: number): void {
    const page = offset / STREAM_PAGE_SIZE;
    if (((this.#bits[page >>> 3] as number) & (1 << (page & 7))) === 0) return;
    memset(this.#hva + BigInt(offset), 0, STREAM_PAGE_SIZE);
  }
}
