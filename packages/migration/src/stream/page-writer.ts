import { nonZeroRanges } from "@baton/memory";
import type { PagesMoved, WritePagesJob } from "../channel/channel.js";
import { STREAM_PAGE_SIZE } from "./format.js";
import { PageBatch } from "./page-batch.js";
import type { BlockCount } from "./page-block.js";
import { RamView } from "./ram-view.js";

/** How often somebody may look at what was done, in pages that need no system call. */
const PAUSE_PAGES = 1024;

/**
 * Makes records of all pages of some blocks, in ascending order. Yields batches whose vector must be written before it
 * goes on. `progress` is three numbers: bytes, pages and zero pages.
 */
export function* writePageRecords(
  job: WritePagesJob,
  progress: Float64Array,
): Generator<PageBatch, PagesMoved, undefined> {
  const batch = new PageBatch(job.streamCrc, job.pageCrc);
  const counts: BlockCount[] = [];
  let bytes = 0;
  let pages = 0;
  let zeroPages = 0;
  function* flush(): Generator<PageBatch, void, undefined> {
    batch.seal();
    bytes += batch.vector.byteLength;
    if (batch.vector.count > 0) yield batch;
    batch.reset();
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
      for (; at < range.offset; at += STREAM_PAGE_SIZE) {
        batch.zero(at);
        zeroPages++;
        if (batch.full || zeroPages % PAUSE_PAGES === 0) yield* flush();
      }
      for (const end = range.offset + range.length; at < end; at += STREAM_PAGE_SIZE) {
        batch.page(at);
        pages++;
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
