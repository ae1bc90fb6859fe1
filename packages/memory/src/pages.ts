import { BatonError, type FdLike, memcmp, seekData, seekHole, view } from "@baton/linux";
import { PAGE_SIZE } from "./backend/backend.js";

/** What looking at pages needs of a block: a `RamBlock`, or what another thread was told of one. */
export interface MappedRam {
  /** For messages. */
  readonly id: string;
  /** Bytes. */
  readonly size: bigint;
  readonly hva: bigint;
  readonly fd: FdLike;
  /** Bytes into {@link MappedRam.fd} where it starts. */
  readonly fdOffset: bigint;
  /** Whether writes go to {@link MappedRam.fd}. */
  readonly share: boolean;
  readonly backend: { readonly kind: string };
}

/** A range within a block, in bytes. */
export interface PageRange {
  readonly offset: number;
  readonly length: number;
}

/** A part of a block, in bytes; all of it unless given. */
export interface RangeOptions {
  readonly offset?: number;
  readonly length?: number;
}

/** How {@link nonZeroRanges} looks. */
export interface NonZeroOptions extends RangeOptions {
  /** What is tested as one, in bytes: a power of two, 4096 unless given. */
  readonly granularity?: number;
}

/** What is compared at once first: large enough for memcmp's full speed, small enough to be worth refining. */
const STRIDE = 2 ** 16;
const GIB = 2 ** 30;

/** Whether memory is zero throughout: its first word, then the rest against itself one byte on. */
export function isZero(hva: bigint, firstWord: number, length: number): boolean {
  return firstWord === 0 && memcmp(hva, hva + 1n, length - 1) === 0;
}

function bounds(
  block: MappedRam,
  { offset = 0, length = Number(block.size) - offset }: RangeOptions,
): [number, number] {
  const end = offset + length;
  if (offset % PAGE_SIZE || length % PAGE_SIZE || offset < 0 || length < 0 || end > Number(block.size)) {
    throw new BatonError(
      "MEMORY_OUT_OF_BOUNDS",
      `memory ${block.id}: ${length} bytes at offset ${offset} are not whole pages within its ${block.size}`,
    );
  }
  return [offset, end];
}

/**
 * The parts of a block that were ever touched, in ascending order: what lies between is zero, and reading it through
 * the mapping would allocate it. A private block, and a device, is one part. lseek(2) SEEK_DATA.
 */
export function* dataRanges(block: MappedRam, options: RangeOptions = {}): Generator<PageRange, void, undefined> {
  const [start, end] = bounds(block, options);
  if (!block.share || block.backend.kind === "dax") {
    if (end > start) yield { offset: start, length: end - start };
    return;
  }
  const base = block.fdOffset;
  for (let at = start; at < end; ) {
    const data = seekData(block.fd, base + BigInt(at));
    if (data === null) return;
    const from = Math.max(at, Number(data - base));
    if (from >= end) return;
    const hole = seekHole(block.fd, base + BigInt(from));
    const to = hole === null ? end : Math.min(end, Number(hole - base));
    yield { offset: from, length: to - from };
    at = to;
  }
}

/**
 * The parts of a block that are not zero, in ascending order, merged where they touch. The guest should be stopped:
 * what it writes meanwhile may or may not be seen.
 */
export function* nonZeroRanges(block: MappedRam, options: NonZeroOptions = {}): Generator<PageRange, void, undefined> {
  const { granularity = PAGE_SIZE } = options;
  if (granularity < PAGE_SIZE || Math.log2(granularity) % 1 !== 0) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `granularity must be a power of two of at least ${PAGE_SIZE}, not ${granularity}`,
    );
  }
  const stride = Math.max(STRIDE, granularity);
  let start = -1;
  let end = -1;
  for (const range of dataRanges(block, options)) {
    const rangeEnd = range.offset + range.length;
    for (let at = range.offset; at < rangeEnd; ) {
      const window = Math.min(GIB, rangeEnd - at);
      const words = new Uint32Array(view(block.hva + BigInt(at), window));
      const { hva } = block;
      // Most pages are told by their first word, without making an address of it.
      const zero = (from: number, length: number) =>
        words[(from - at) >>> 2] === 0 && isZero(hva + BigInt(from), 0, length);
      for (let big = at; big < at + window; ) {
        const bigEnd = Math.min(big + stride - (big % stride), at + window);
        if (!zero(big, bigEnd - big)) {
          for (let small = big; small < bigEnd; ) {
            const smallEnd = Math.min(small + granularity - (small % granularity), bigEnd);
            const whole = small === big && smallEnd === bigEnd;
            if (whole || !zero(small, smallEnd - small)) {
              if (small !== end) {
                if (start >= 0) yield { offset: start, length: end - start };
                start = small;
              }
              end = smallEnd;
            }
            small = smallEnd;
          }
        }
        big = bigEnd;
      }
      at += window;
    }
  }
  if (start >= 0) yield { offset: start, length: end - start };
}
