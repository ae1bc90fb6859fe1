import { RAM_FLAG, STREAM_PAGE_SIZE } from "./format.js";
import { streamError } from "./stream-error.js";
import { NEED_BYTES, type NeedBytes, type StreamInput } from "./stream-input.js";

const FLAGS = STREAM_PAGE_SIZE - 1;
/** Address and flags, which a page of the same block as before follows. */
const HEADER_BYTES = 8;
const RECORD_BYTES = HEADER_BYTES + STREAM_PAGE_SIZE;
const KNOWN = RAM_FLAG.zero | RAM_FLAG.page | RAM_FLAG.eos | RAM_FLAG.continue | RAM_FLAG.multifdFlush;
const UNSUPPORTED: readonly (readonly [flag: number, name: string])[] = [
  [RAM_FLAG.full, "FULL"],
  [RAM_FLAG.xbzrle, "XBZRLE"],
  [RAM_FLAG.hook, "HOOK (RDMA)"],
  [RAM_FLAG.compress, "COMPRESS_PAGE"],
];

/** What becomes of the pages of a stream. */
export interface PageTarget {
  /** The size in bytes of a block that the following pages belong to; undefined if there is none of the name. */
  select(id: string): number | undefined;
  /** So many bytes of pages from `offset` on, within the block, are next: told once, before the first of them. */
  expect?(offset: number, length: number): void;
  /** A page's content: `STREAM_PAGE_SIZE` bytes of `buffer` from `at` on. */
  page(offset: number, buffer: Uint8Array, at: number): void;
  zero(offset: number): void;
}

/**
 * Reads records of pages up to the end of the section. `continued` is the block of the record before; returns that of
 * the last one. Throws `STREAM_RAM`, `STREAM_RAM_UNSUPPORTED` or `STREAM_TRUNCATED`.
 */
export function* readPageRecords(
  input: StreamInput,
  target: PageTarget,
  continued: string | undefined,
): Generator<NeedBytes, string | undefined, void> {
  let block = continued;
  let size = block === undefined ? -1 : (target.select(block) ?? -1);
  /** The pages of a run that the target was told of and that did not come yet. */
  let expected = 0;
  for (;;) {
    while (input.available < HEADER_BYTES) {
      if (input.ended) yield* input.need(HEADER_BYTES);
      yield NEED_BYTES;
    }
    const recordAt = input.offset;
    const high = input.u32();
    const low = input.u32();
    const flags = low & FLAGS;
    const offset = high * 2 ** 32 + ((low & ~FLAGS) >>> 0);
    const kind = checkFlags(flags, recordAt);
    if (kind === RAM_FLAG.eos) return block;
    if (kind === RAM_FLAG.multifdFlush) continue;
    if ((flags & RAM_FLAG.continue) === 0) {
      block = yield* readName(input);
      size = target.select(block) ?? -1;
      if (size < 0) {
        throw streamError("STREAM_RAM", `Unknown ramblock "${block}", cannot accept migration`, recordAt, { block });
      }
    } else if (size < 0) {
      throw streamError("STREAM_RAM", "a page of the same block as before, but there was none", recordAt);
    }
    if (offset + STREAM_PAGE_SIZE > size) {
      const message = `a page at ${offset} of RAM block '${block}', which has ${size} bytes`;
      throw streamError("STREAM_RAM", message, recordAt, { block, page: offset });
    }
    if (kind === RAM_FLAG.zero) {
      if (input.available < 1) yield* input.need(1);
      const fill = input.u8();
      if (fill !== 0) throw streamError("STREAM_RAM", `a page filled with ${fill} is no zero page`, recordAt, { fill });
      target.zero(offset);
    } else {
      if (input.available < STREAM_PAGE_SIZE) yield* input.need(STREAM_PAGE_SIZE);
      if (expected === 0) {
        expected = pagesInRow(input, offset, size);
        target.expect?.(offset, expected * STREAM_PAGE_SIZE);
      }
      expected--;
      const { at } = input;
      input.skipPage(STREAM_PAGE_SIZE);
      target.page(offset, input.buffer, at);
    }
  }
}

/** How many pages of the block follow each other in what is there, the next one among them. */
function pagesInRow(input: StreamInput, offset: number, size: number): number {
  const view = new DataView(input.buffer.buffer, input.buffer.byteOffset);
  let count = 1;
  for (let page = offset + STREAM_PAGE_SIZE; page < size; page += STREAM_PAGE_SIZE) {
    const ahead = count * RECORD_BYTES - HEADER_BYTES;
    if (ahead + RECORD_BYTES > input.available) break;
    const high = view.getUint32(input.at + ahead);
    const low = view.getUint32(input.at + ahead + 4);
    if (high !== Math.floor(page / 2 ** 32) || low !== (page | RAM_FLAG.page | RAM_FLAG.continue) >>> 0) break;
    count++;
  }
  return count;
}

/** The one kind among the flags. */
function checkFlags(flags: number, offset: number): number {
  const kind = flags & ~RAM_FLAG.continue;
  if ((flags & ~KNOWN) === 0) {
    if (kind === RAM_FLAG.page || kind === RAM_FLAG.zero) return kind;
    if ((kind === RAM_FLAG.eos || kind === RAM_FLAG.multifdFlush) && flags === kind) return kind;
  }
  for (const [flag, name] of UNSUPPORTED) {
    if (flags & flag) throw streamError("STREAM_RAM_UNSUPPORTED", `pages with ${name} are not supported`, offset);
  }
  throw streamError("STREAM_RAM", `Unknown combination of migration flags: 0x${flags.toString(16)}`, offset, { flags });
}

/** A name after a byte with its length. */
export function* readName(input: StreamInput): Generator<NeedBytes, string, void> {
  yield* input.need(1);
  const { offset } = input;
  const length = input.u8();
  yield* input.need(length);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input.bytes(length));
  } catch {
    throw streamError("STREAM_ELEMENT", "a name is no UTF-8", offset);
  }
}
