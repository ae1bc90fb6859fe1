import { BatonError, view } from "@baton/linux";
import { PAGE_SIZE } from "./backend/backend.js";
import type { DirtyBitmap } from "./dirty-bitmap.js";

/** The most that one view covers, in bytes: access beyond 2^30 leaves V8's small integers and slows down. */
export const CHUNK_BYTES = 2 ** 30;

/** Views of one piece of a region. Fields that others touch too go through the aligned ones. */
export class Chunk {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly data: DataView;
  /** Of the chunk's first byte in the RAM block. */
  readonly blockOffset: number;
  readonly dirty: DirtyBitmap;

  constructor(hva: bigint, length: number, blockOffset: number, dirty: DirtyBitmap) {
    const buffer = view(hva, length);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.data = new DataView(buffer);
    this.blockOffset = blockOffset;
    this.dirty = dirty;
  }
}

/** What makes up a {@link Region}; bytes. */
export interface RegionOptions {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly hva: bigint;
  readonly blockId: string;
  /** Into the block. */
  readonly offset: bigint;
  readonly generation: number;
  readonly dirty: DirtyBitmap;
}

/** A contiguous range of guest addresses that one block backs. Its views are made when they are first needed. */
export class Region {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly blockId: string;
  readonly offset: bigint;
  readonly dirty: DirtyBitmap;
  /** `gpa` and the end as numbers: exact, as addresses are below 2^52. */
  readonly start: number;
  readonly end: number;
  #hva: bigint;
  #generation: number;
  #chunks: (Chunk | undefined)[];

  constructor(options: RegionOptions) {
    const { gpa, size, offset, blockId } = options;
    if (gpa < 0n || size <= 0n || (gpa | size | offset) % BigInt(PAGE_SIZE) !== 0n || gpa + size > 2n ** 52n) {
      throw new BatonError(
        "GUEST_MEMORY_LAYOUT",
        `memory ${blockId}: ${size} bytes at guest address 0x${gpa.toString(16)} are not whole pages below 2^52`,
      );
    }
    this.gpa = gpa;
    this.size = size;
    this.offset = offset;
    this.blockId = blockId;
    this.dirty = options.dirty;
    this.start = Number(gpa);
    this.end = Number(gpa + size);
    this.#hva = options.hva;
    this.#generation = options.generation;
    this.#chunks = new Array(Math.ceil(Number(size) / CHUNK_BYTES));
  }

  get hva(): bigint {
    return this.#hva;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Takes the new address of a block that was rebased, and forgets all views. */
  rebase(hva: bigint, generation: number): void {
    this.#hva = hva;
    this.#generation = generation;
    this.#chunks = new Array(this.#chunks.length);
  }

  /** The views of one piece, where they have been made. */
  viewed(index: number): Chunk | undefined {
    return this.#chunks[index];
  }

  /** The views of one piece. */
  chunk(index: number): Chunk {
    let chunk = this.#chunks[index];
    if (chunk === undefined) {
      const offset = index * CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES, this.end - this.start - offset);
      chunk = new Chunk(this.#hva + BigInt(offset), length, Number(this.offset) + offset, this.dirty);
      this.#chunks[index] = chunk;
    }
    return chunk;
  }
}
