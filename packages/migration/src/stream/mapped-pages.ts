import { addressOf, IoVector } from "@baton/linux";
import { nonZeroRanges } from "@baton/memory";
import { crc32 } from "@node-rs/crc32";
import type { MappedPagesMoved } from "../channel/channel.js";
import { bitmapBytes, STREAM_PAGE_SIZE } from "./format.js";
import type { BlockCount, MappedBlock } from "./page-block.js";
import { RamView, TouchedPages } from "./ram-view.js";
import { streamError } from "./stream-error.js";

/** How much is moved and summed at once. */
const STEP = 2 ** 20;

/** A file, or what stands for one. */
export interface SeekableIo {
  readonly progress: Float64Array;
  checkCancelled(): void;
  seek(position: number): void;
  /** Leaves the vector empty. */
  writeVector(vector: IoVector): void;
  /** The bytes that were there. */
  readVector(vector: IoVector): number;
}

type Summed = BlockCount & { readonly bitmapCrc: number; readonly pagesCrc: number };

/** Writes each block's pages that are not zero to their places, then its bitmap. The others stay holes of the file. */
export function writeMappedPages(io: SeekableIo, blocks: readonly MappedBlock[]): MappedPagesMoved {
  return eachBlock(io, blocks, ({ block, bitmapOffset, pagesOffset }, moved) => {
    const pages = Number(block.size) / STREAM_PAGE_SIZE;
    const bitmap = new Uint8Array(bitmapBytes(pages));
    const ram = new RamView(block);
    let count = 0;
    let pagesCrc = 0;
    for (const { offset, length } of nonZeroRanges(block)) {
      for (let at = offset; at < offset + length; at += STEP) {
        const step = Math.min(STEP, offset + length - at);
        pagesCrc = ram.crc(at, step, pagesCrc);
        io.seek(pagesOffset + at);
        io.writeVector(piece(Number(block.hva) + at, step));
        moved(step, step / STREAM_PAGE_SIZE, 0);
      }
      const end = (offset + length) / STREAM_PAGE_SIZE;
      for (let page = offset / STREAM_PAGE_SIZE; page < end; page++) bitmap[page >>> 3]! |= 1 << (page & 7);
      count += length / STREAM_PAGE_SIZE;
    }
    io.seek(bitmapOffset);
    io.writeVector(piece(Number(addressOf(bitmap)), bitmap.length));
    moved(bitmap.length, 0, pages - count);
    return { id: block.id, pages: count, zeroPages: pages - count, bitmapCrc: crc32(bitmap), pagesCrc };
  });
}

/** Reads each block's bitmap and the pages that it names straight into memory; the others are made zero. */
export function readMappedPages(io: SeekableIo, blocks: readonly MappedBlock[]): MappedPagesMoved {
  return eachBlock(io, blocks, ({ block, bitmapOffset, pagesOffset }, moved) => {
    const pages = Number(block.size) / STREAM_PAGE_SIZE;
    const bitmap = new Uint8Array(bitmapBytes(pages));
    const touched = new TouchedPages(block);
    const ram = new RamView(block);
    const read = (address: number, length: number, position: number) => {
      io.seek(position);
      const got = io.readVector(piece(address, length));
      if (got !== length) {
        const message = `the stream ends: ${length} bytes of RAM block '${block.id}' are needed, ${got} are left`;
        throw streamError("STREAM_TRUNCATED", message, position, { block: block.id });
      }
    };
    read(Number(addressOf(bitmap)), bitmap.length, bitmapOffset);
    if (bitmap.length * 8 > pages && hasBit(bitmap, pages, bitmap.length * 8)) {
      throw streamError("STREAM_RAM", `the bitmap of RAM block '${block.id}' has bits past its pages`, bitmapOffset);
    }
    let count = 0;
    let pagesCrc = 0;
    for (let page = 0; page < pages; ) {
      if (!bit(bitmap, page)) {
        touched.clear(page * STREAM_PAGE_SIZE);
        page++;
        continue;
      }
      const start = page * STREAM_PAGE_SIZE;
      while (page < pages && bit(bitmap, page) && (page + 1) * STREAM_PAGE_SIZE - start <= STEP) page++;
      const length = page * STREAM_PAGE_SIZE - start;
      read(Number(block.hva) + start, length, pagesOffset + start);
      pagesCrc = ram.crc(start, length, pagesCrc);
      count += length / STREAM_PAGE_SIZE;
      moved(length, length / STREAM_PAGE_SIZE, 0);
    }
    moved(bitmap.length, 0, pages - count);
    return { id: block.id, pages: count, zeroPages: pages - count, bitmapCrc: crc32(bitmap), pagesCrc };
  });
}

const one = new IoVector(1);

function piece(address: number, length: number): IoVector {
  one.clear();
  one.add(address, length);
  return one;
}

function bit(bitmap: Uint8Array, page: number): boolean {
  return ((bitmap[page >>> 3] as number) & (1 << (page & 7))) !== 0;
}

function hasBit(bitmap: Uint8Array, from: number, to: number): boolean {
  for (let page = from; page < to; page++) if (bit(bitmap, page)) return true;
  return false;
}

function eachBlock(
  io: SeekableIo,
  blocks: readonly MappedBlock[],
  move: (block: MappedBlock, moved: (bytes: number, pages: number, zeroPages: number) => void) => Summed,
): MappedPagesMoved {
  const total = { bytes: 0, pages: 0, zeroPages: 0 };
  const summed = blocks.map((block) =>
    move(block, (bytes, pages, zeroPages) => {
      io.checkCancelled();
      total.bytes += bytes;
      total.pages += pages;
      total.zeroPages += zeroPages;
      io.progress[0] = total.bytes;
      io.progress[1] = total.pages;
      io.progress[2] = total.zeroPages;
    }),
  );
  return { ...total, blocks: summed };
}
