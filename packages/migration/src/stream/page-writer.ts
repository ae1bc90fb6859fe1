import type { IoVector } from "@baton/linux";
import { nonZeroRanges } from "@baton/memory";
import type { PagesMoved, WritePagesJob } from "../channel/channel.js";
import { STREAM_PAGE_SIZE } from "./format.js";
import { PageBatch } from "./page-batch.js";
import type { BlockCount } from "./page-block.js";
import { RamView } from "./ram-view.js";

/**
 * Makes records of all pages of some blocks, in ascending order, `pagesAtOnce` with content in a batch. Yields what to
 * write; before it goes on, what it yielded before that must have been written. `progress` is three numbers: bytes,
 * pages and zero pages.
 */
export function* writePageRecords(
  job: WritePagesJob,
  progress: Float64Array,
  pagesAtOnce: number,
): Generator<IoVector, PagesMoved, undefined> {
  const batch = new PageBatch(pagesAtOnce, job.streamCrc, job.pageCrc);
  const counts: BlockCount[] = [];
  let bytes = 0;
  let pages = 0;
  let zeroPages = 0;
  function* flush(): Generator<IoVector, void, undefined> {
    batch.seal();
    bytes += batch.vector.byteLength;
    if (batch.vector.count > 0) yield batch.vector;
    batch.turn();
    progress[0] = bytes;
    progress[1] = pages;
    progress[2] = zeroPages;
  }
  for (const block of job.blocks) {
    const before = { pages, zeroPages };
    const size = Number(block.size);
    batch.begin(block.id, new RamView(block));
    let at = 0;
    for (const range of ends(nonZeroRanges(block), size)) {
      while (at < range.offset) {
        const from = at;
        at = batch.zeros(from, range.offset);
        zeroPages += (at - from) / STREAM_PAGE_SIZE;
        if (batch.full) yield* flush();
      }
      for (const end = range.offset + range.length; at < end; ) {
        const from = at;
        at = batch.pages(from, end);
        pages += (at - from) / STREAM_PAGE_SIZE;
        if (batch.full) yield* flush();
      }
    }
    yield* flush();
    counts.push({ id: block.id, pages: pages - before.pages, zeroPages: zeroPages - before.zeroPages });
  }
  return { bytes, pages, zeroPages, streamCrc: batch.streamCrc, pageCrc: batch.pageCrc, blocks: counts };
}

function* ends(ranges: Iterable<{ offset: number; length: number }>, size: number) {
  yield* ranges;
  yield { offset: size, length: 0 };
}
