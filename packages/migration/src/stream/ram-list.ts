import type { RamBlock } from "@baton/memory";
import type { ByteWriter } from "../vmstate/index.js";
import {
  bitmapBytes,
  LONGEST_NAME,
  MAPPED_ALIGNMENT,
  MAPPED_HEADER_BYTES,
  MAPPED_VERSION,
  RAM_FLAG,
  STREAM_PAGE_SIZE,
} from "./format.js";
import type { PageBlock } from "./page-block.js";
import { readName } from "./page-reader.js";
import { streamError } from "./stream-error.js";
import type { NeedBytes, StreamInput } from "./stream-input.js";

/** RAM that belongs to a stream. */
export interface StreamRam {
  readonly block: RamBlock;
  /** Where the guest sees it; compared for blocks that are ignored. */
  readonly gpa?: bigint | undefined;
  /** With `x-ignore-shared`: its content stays where it is, shared by both sides. */
  readonly ignored?: boolean | undefined;
}

/** What other threads need of a block. */
export function pageBlock({ block }: StreamRam): PageBlock {
  const { id, hva, size, fdOffset, share } = block;
  return { id, hva, size, fd: block.fd.raw, fdOffset, share, backend: { kind: block.backend.kind } };
}

/** Blocks in the order of a stream: the largest first. */
export function sortedRam(ram: readonly StreamRam[]): StreamRam[] {
  return [...ram].sort((a, b) => (a.block.size < b.block.size ? 1 : a.block.size > b.block.size ? -1 : 0));
}

/** Where a block's bitmap and pages are in the file. */
export interface MappedPlace {
  readonly bitmapOffset: number;
  readonly pagesOffset: number;
}

/** An entry of the block list that was read. */
export interface ListedBlock {
  readonly id: string;
  readonly size: bigint;
  readonly gpa: bigint | undefined;
  readonly mapped: MappedPlace | undefined;
  /** Where the entry stands in the stream. */
  readonly offset: number;
}

/** What is in the block list. */
export interface RamListOptions {
  readonly ignoreShared: boolean;
  readonly mapped: boolean;
}

/** Checks what streams cannot carry. Throws `STREAM_VALUE`. */
export function checkRam(ram: readonly StreamRam[]): void {
  const names = new Set<string>();
  for (const { block } of ram) {
    const bytes = Buffer.byteLength(block.id);
    if (bytes === 0 || bytes > LONGEST_NAME) {
      throw streamError(
        "STREAM_VALUE",
        `a RAM block's name has 1 to ${LONGEST_NAME} bytes, '${block.id}' has ${bytes}`,
      );
    }
    if (names.has(block.id)) throw streamError("STREAM_VALUE", `two RAM blocks are called '${block.id}'`);
    if (block.size % BigInt(STREAM_PAGE_SIZE) !== 0n) {
      throw streamError("STREAM_VALUE", `RAM block '${block.id}' has no whole pages`);
    }
    names.add(block.id);
  }
}

/** The first word of the list, and of a record that ends a section. */
export function writeListStart(writer: ByteWriter, ram: readonly StreamRam[]): void {
  const total = ram.reduce((sum, { block }) => sum + block.size, 0n);
  writer.u64(total | BigInt(RAM_FLAG.memSize));
}

/** The mark at the end of a section's payload. */
export function writeRamEnd(writer: ByteWriter): void {
  writer.u64(BigInt(RAM_FLAG.eos));
}

/** One entry; `position` is where in the file it starts. Returns where the mapped pages go. */
export function writeListEntry(
  writer: ByteWriter,
  { block, gpa = 0n }: StreamRam,
  options: RamListOptions,
  position: number,
): MappedPlace | undefined {
  const from = writer.length;
  writer.text(block.id);
  writer.u64(block.size);
  if (options.ignoreShared) writer.u64(gpa);
  if (!options.mapped) return undefined;
  const bitmapOffset = position + writer.length - from + MAPPED_HEADER_BYTES;
  const pagesOffset = aligned(bitmapOffset + bitmapBytes(Number(block.size) / STREAM_PAGE_SIZE));
  writer.u32(MAPPED_VERSION);
  writer.u64(BigInt(STREAM_PAGE_SIZE));
  writer.u64(BigInt(bitmapOffset));
  writer.u64(BigInt(pagesOffset));
  return { bitmapOffset, pagesOffset };
}

function aligned(position: number): number {
  return Math.ceil(position / MAPPED_ALIGNMENT) * MAPPED_ALIGNMENT;
}

/** The most blocks and bytes of a list that is read. */
const MOST_BLOCKS = 4096;
const MOST_BYTES = 2n ** 52n;

/** Asks to go on elsewhere in the file. */
export interface Seek {
  readonly kind: "seek";
  readonly position: number;
}

/**
 * Reads the payload of the section's start. After a block with mapped pages it goes on behind those. Throws `STREAM_RAM`.
 */
export function* readRamList(
  input: StreamInput,
  options: RamListOptions,
): Generator<NeedBytes | Seek, ListedBlock[], void> {
  yield* input.need(8);
  const { offset } = input;
  const word = input.u64();
  const flags = Number(word & BigInt(STREAM_PAGE_SIZE - 1));
  if (flags !== RAM_FLAG.memSize) {
    throw streamError(
      "STREAM_RAM",
      `the section starts without a list of blocks, flags 0x${flags.toString(16)}`,
      offset,
    );
  }
  let left = word - BigInt(flags);
  const blocks: ListedBlock[] = [];
  while (left > 0n) {
    if (blocks.length === MOST_BLOCKS)
      throw streamError("STREAM_RAM", `more than ${MOST_BLOCKS} RAM blocks`, input.offset);
    const block = yield* readListEntry(input, options, left);
    if (blocks.some(({ id }) => id === block.id)) {
      throw streamError("STREAM_RAM", `RAM block '${block.id}' is listed twice`, block.offset);
    }
    blocks.push(block);
    left -= block.size;
  }
  yield* input.need(8);
  const endAt = input.offset;
  const end = input.u64();
  if (end !== BigInt(RAM_FLAG.eos)) {
    throw streamError("STREAM_RAM", "the list of RAM blocks does not end where it should", endAt);
  }
  return blocks;
}

function* readListEntry(
  input: StreamInput,
  options: RamListOptions,
  left: bigint,
): Generator<NeedBytes | Seek, ListedBlock, void> {
  const { offset } = input;
  const id = yield* readName(input);
  yield* input.need(8 + (options.ignoreShared ? 8 : 0) + (options.mapped ? MAPPED_HEADER_BYTES : 0));
  const size = input.u64();
  if (size === 0n || size > left || size > MOST_BYTES || size % BigInt(STREAM_PAGE_SIZE) !== 0n) {
    throw streamError("STREAM_RAM", `RAM block '${id}' cannot have ${size} bytes`, offset, { block: id });
  }
  const gpa = options.ignoreShared ? input.u64() : undefined;
  const mapped = options.mapped ? yield* readMappedHeader(input, id, Number(size), options.ignoreShared) : undefined;
  return { id, size, gpa, mapped, offset };
}

function* readMappedHeader(
  input: StreamInput,
  id: string,
  size: number,
  ignoreShared: boolean,
): Generator<Seek, MappedPlace | undefined, void> {
  const { offset } = input;
  const refuse = (message: string) => streamError("STREAM_RAM", `RAM block '${id}': ${message}`, offset, { block: id });
  const version = input.u32();
  if (version !== MAPPED_VERSION) throw refuse(`version ${version} of mapped pages is not known`);
  const pageSize = input.u64();
  if (pageSize !== BigInt(STREAM_PAGE_SIZE)) throw refuse(`mapped pages of ${pageSize} bytes are not supported`);
  const bitmapOffset = Number(input.u64());
  const pagesOffset = Number(input.u64());
  // Newer programs give blocks that are shared no place.
  if (ignoreShared && bitmapOffset === 0 && pagesOffset === 0) return undefined;
  const bitmapEnd = bitmapOffset + bitmapBytes(size / STREAM_PAGE_SIZE);
  if (
    bitmapOffset !== input.offset ||
    pagesOffset < bitmapEnd ||
    pagesOffset > bitmapEnd + MAPPED_ALIGNMENT ||
    pagesOffset % MAPPED_ALIGNMENT !== 0
  ) {
    throw refuse(`its bitmap at ${bitmapOffset} and its pages at ${pagesOffset} are not where they must be`);
  }
  yield { kind: "seek", position: pagesOffset + size };
  return { bitmapOffset, pagesOffset };
}
