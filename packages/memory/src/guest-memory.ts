import { addressOf, BatonError, type MemoryPiece, memcpy, memset, view } from "@baton/linux";
import { DirtyBitmap } from "./dirty-bitmap.js";
import { type LayoutOptions, layoutRam } from "./layout.js";
import type { RamBlock } from "./ram-block.js";
import { CHUNK_BYTES, type Chunk, Region } from "./region.js";

/** A guest physical address: a bigint, or in hot loops a safe integer. */
export type Gpa = bigint | number;

/** Where a block stands in the guest; bytes. */
export interface GuestRegion {
  readonly gpa: bigint;
  readonly block: RamBlock;
  /** Into the block, 0 unless given. */
  readonly offset?: bigint;
  /** The rest of the block unless given. */
  readonly size?: bigint;
}

/** A region as plain data; bytes. */
export interface RegionDescriptor {
  readonly gpa: bigint;
  readonly size: bigint;
  /** In this process: no other process can use it. */
  readonly hva: bigint;
  readonly blockId: string;
  /** Into the block. */
  readonly offset: bigint;
  /** Of the block, see `RamBlock.rebase`. */
  readonly generation: number;
  /** The block's dirty bitmap, and the block's size. */
  readonly dirty: SharedArrayBuffer;
  readonly blockSize: bigint;
}

/** What another thread of this process needs to see the memory; survives a structured clone. */
export interface GuestMemoryDescriptor {
  readonly regions: readonly RegionDescriptor[];
  /** Counts the rebases, shared by all threads. */
  readonly epoch: SharedArrayBuffer;
}

const hex = (gpa: Gpa) => (typeof gpa === "number" && !Number.isInteger(gpa) ? String(gpa) : `0x${gpa.toString(16)}`);

/**
 * The guest's physical memory, as one thread sees it. Every access is checked against the regions; a range may span
 * regions that touch. Little-endian. An aligned access of 1, 2, 4 or 8 bytes is one load or store, so that it may meet
 * the guest's; ordering beyond x86's own needs Atomics on {@link GuestMemory.i32}. Writes mark the block's dirty log.
 *
 * Views that are handed out do not outlive a rebase of their block, or its closing. Throws
 * `GUEST_MEMORY_OUT_OF_BOUNDS`, naming address and length, before anything is written.
 */
export class GuestMemory {
  #regions: readonly Region[];
  #last: Region;
  /** Where the access that `#hit` found lies in its chunk. */
  #at = 0;
  readonly #epoch: Int32Array;
  #seenEpoch: number;
  readonly #release: (() => void)[] = [];
  readonly #blocks: readonly RamBlock[];
  readonly #sparse = new Uint8Array(8);
  readonly #sparseData = new DataView(this.#sparse.buffer);

  private constructor(regions: Region[], blocks: readonly RamBlock[], epoch: Int32Array) {
    const sorted = regions.sort((a, b) => a.start - b.start);
    sorted.forEach((region, i) => {
      const before = sorted[i - 1];
      if (before && before.end > region.start) {
        throw new BatonError(
          "GUEST_MEMORY_OVERLAP",
          `memory ${region.blockId} at ${hex(region.gpa)} overlaps ${before.blockId} at ${hex(before.gpa)}`,
        );
      }
    });
    const first = sorted[0];
    if (!first) throw new BatonError("GUEST_MEMORY_LAYOUT", "guest memory needs at least one region");
    this.#regions = sorted;
    this.#last = first;
    this.#blocks = blocks;
    this.#epoch = epoch;
    this.#seenEpoch = Atomics.load(epoch, 0);
  }

  /** Memory of given regions. Throws `GUEST_MEMORY_OVERLAP`, `GUEST_MEMORY_LAYOUT`. The blocks stay the caller's. */
  static create(regions: readonly GuestRegion[]): GuestMemory {
    const made = regions.map(({ gpa, block, offset = 0n, size = block.size - offset }) => {
      if (offset < 0n || offset + size > block.size) {
        throw new BatonError(
          "GUEST_MEMORY_LAYOUT",
          `memory ${block.id}: ${size} bytes at offset ${offset} are not within its ${block.size}`,
        );
      }
      const hva = block.hva + offset;
      return new Region({
        gpa,
        size,
        hva,
        blockId: block.id,
        offset,
        generation: block.generation,
        dirty: block.dirty.source,
      });
    });
    const blocks = [...new Set(regions.map((region) => region.block))];
    const memory = new GuestMemory(made, blocks, new Int32Array(new SharedArrayBuffer(4)));
    for (const block of blocks) memory.#release.push(block.onRebase(() => memory.#rebased(block)));
    return memory;
  }

  /** Memory of blocks one after the other, around the hole below 4 GiB. */
  static layout(blocks: readonly RamBlock[], options: LayoutOptions = {}): GuestMemory {
    const total = blocks.reduce((sum, block) => sum + block.size, 0n);
    const regions: GuestRegion[] = [];
    let start = 0n;
    for (const block of blocks) {
      const end = start + block.size;
      for (const part of layoutRam(total, options)) {
        const partEnd = part.offset + part.size;
        if (partEnd <= start || part.offset >= end) continue;
        const from = part.offset < start ? start : part.offset;
        // biome-ignore lint/complexity/useMathMinMax: Math.min does not take bigints
        const size = (end < partEnd ? end : partEnd) - from;
        regions.push({ gpa: part.gpa + from - part.offset, block, offset: from - start, size });
      }
      start = end;
    }
    return GuestMemory.create(regions);
  }

  /** The same memory in another thread of the process, which owns nothing. */
  static attach(descriptor: GuestMemoryDescriptor): GuestMemory {
    return new GuestMemory(attachedRegions(descriptor), [], new Int32Array(descriptor.epoch));
  }

  /** What {@link GuestMemory.attach} needs in another thread. Post it again after a rebase. */
  describe(): GuestMemoryDescriptor {
    const regions = this.#regions.map((region) => ({
      gpa: region.gpa,
      size: region.size,
      hva: region.hva,
      blockId: region.blockId,
      offset: region.offset,
      generation: region.generation,
      dirty: region.dirty.buffer,
      blockSize: BigInt(region.dirty.pages) * 4096n,
    }));
    return { regions, epoch: this.#epoch.buffer as SharedArrayBuffer };
  }

  /** Takes a newer descriptor in an attached thread, at the quiesce point of a rebase: old views are forgotten. */
  refresh(descriptor: GuestMemoryDescriptor): void {
    this.#regions = attachedRegions(descriptor).sort((a, b) => a.start - b.start);
    this.#last = this.#regions[0] as Region;
    this.#seenEpoch = Atomics.load(this.#epoch, 0);
  }

  /** Whether a block was rebased since this thread attached: it must {@link GuestMemory.refresh} before any access. */
  get stale(): boolean {
    return Atomics.load(this.#epoch, 0) !== this.#seenEpoch;
  }

  #rebased(block: RamBlock): void {
    for (const region of this.#regions) {
      if (region.blockId === block.id) region.rebase(block.hva + region.offset, block.generation);
    }
    this.#seenEpoch = Atomics.add(this.#epoch, 0, 1) + 1;
  }

  /** The blocks, in the thread that made the memory; none in one that attached. */
  get blocks(): readonly RamBlock[] {
    return this.#blocks;
  }

  /** Bytes of RAM. */
  get size(): bigint {
    return this.#regions.reduce((sum, region) => sum + region.size, 0n);
  }

  /** Where the highest region ends. */
  get end(): bigint {
    const last = this.#regions[this.#regions.length - 1] as Region;
    return last.gpa + last.size;
  }

  /** The block that an address lies in, and the offset into the block; null where there is no RAM. */
  find(gpa: Gpa): { readonly blockId: string; readonly offset: bigint; readonly hva: bigint } | null {
    const address = this.#number(gpa);
    const region = this.#search(address);
    if (!region) return null;
    const into = BigInt(address - region.start);
    return { blockId: region.blockId, offset: region.offset + into, hva: region.hva + into };
  }

  /** Whether a range is RAM throughout. */
  has(gpa: Gpa, length: bigint | number): boolean {
    return this.#pieces(this.#number(gpa), Number(length), () => {});
  }

  /** An address as a number: -1 for one that no region can hold. */
  #number(gpa: Gpa): number {
    if (typeof gpa === "number") {
      if (!Number.isSafeInteger(gpa)) throw new BatonError("INVALID_ARGUMENT", `gpa must be an integer, not ${gpa}`);
      return gpa;
    }
    return gpa >= 0n && gpa < 0x10_0000_0000_0000n ? Number(gpa) : -1;
  }

  #search(address: number): Region | undefined {
    return this.#regions.find((region) => address >= region.start && address < region.end);
  }

  /** The chunk that holds a whole access, which then starts at `#at`; else undefined. */
  #hit(gpa: Gpa, length: number): Chunk | undefined {
    const address = typeof gpa === "number" ? gpa : this.#number(gpa);
    let region = this.#last;
    if (!(address >= region.start && address + length <= region.end)) {
      const found = this.#search(address);
      if (found === undefined || address + length > found.end) return undefined;
      region = found;
      this.#last = found;
    }
    const offset = address - region.start;
    if (offset < CHUNK_BYTES) {
      if (offset + length > CHUNK_BYTES || offset !== (offset | 0)) return undefined;
      this.#at = offset;
      return region.chunk(0);
    }
    const index = Math.floor(offset / CHUNK_BYTES);
    const at = offset - index * CHUNK_BYTES;
    if (at + length > CHUNK_BYTES || at !== (at | 0)) return undefined;
    this.#at = at;
    return region.chunk(index);
  }

  /** Calls `each` with the pieces of a range, chunk by chunk; false, without any call, if a part is not RAM. */
  #pieces(address: number, length: number, each: (region: Region, offset: number, length: number) => void): boolean {
    if (!(length >= 0)) return false;
    const found: [Region, number, number][] = [];
    let at = address;
    let left = length;
    do {
      const region = this.#search(at) ?? (left === 0 ? this.#regions.find((one) => one.end === at) : undefined);
      if (!region) return false;
      const offset = at - region.start;
      const inChunk = CHUNK_BYTES - (offset % CHUNK_BYTES);
      const step = Math.min(left, region.end - at, inChunk);
      if (step > 0) found.push([region, offset, step]);
      at += step;
      left -= step;
    } while (left > 0);
    for (const [region, offset, step] of found) each(region, offset, step);
    return true;
  }

  #walk(gpa: Gpa, length: number, each: (bytes: Uint8Array, done: number, chunk: Chunk, at: number) => void): void {
    if (!Number.isSafeInteger(length) || length < 0)
      throw new BatonError("INVALID_ARGUMENT", `length must be an integer, not ${length}`);
    const hit = length > 0 ? this.#hit(gpa, length) : undefined;
    if (hit) {
      const at = this.#at;
      each(hit.u8.subarray(at, at + length), 0, hit, at);
      return;
    }
    let done = 0;
    const ok = this.#pieces(this.#number(gpa), length, (region, offset, step) => {
      const chunk = region.chunk(Math.floor(offset / CHUNK_BYTES));
      const at = offset % CHUNK_BYTES;
      each(chunk.u8.subarray(at, at + step), done, chunk, at);
      done += step;
    });
    if (!ok) this.#outOfBounds(gpa, length);
  }

  #outOfBounds(gpa: Gpa, length: bigint | number): never {
    throw new BatonError(
      "GUEST_MEMORY_OUT_OF_BOUNDS",
      `${length} bytes at guest address ${hex(gpa)} are not RAM throughout`,
      {
        details: { gpa: BigInt(typeof gpa === "number" ? Math.trunc(gpa) : gpa), length: BigInt(length) },
      },
    );
  }

  #wrote(chunk: Chunk, at: number, length: number): void {
    chunk.dirty.mark(chunk.blockOffset + at, length);
  }

  /** Reads a small value across a boundary of chunks or regions. */
  #readAcross(gpa: Gpa, length: number): DataView {
    this.#walk(gpa, length, (bytes, done) => this.#sparse.set(bytes, done));
    return this.#sparseData;
  }

  #writeAcross(gpa: Gpa, length: number): void {
    this.write(gpa, this.#sparse.subarray(0, length));
  }

  /** Reads a byte. */
  readU8(gpa: Gpa): number {
    const chunk = this.#hit(gpa, 1);
    return chunk ? (chunk.u8[this.#at] as number) : this.#readAcross(gpa, 1).getUint8(0);
  }

  /** Reads 16 bits, little-endian. */
  readU16(gpa: Gpa): number {
    const chunk = this.#hit(gpa, 2);
    if (!chunk) return this.#readAcross(gpa, 2).getUint16(0, true);
    const at = this.#at;
    return (at & 1) === 0 ? (chunk.u16[at >>> 1] as number) : chunk.data.getUint16(at, true);
  }

  /** Reads 32 bits, little-endian, unsigned. */
  readU32(gpa: Gpa): number {
    const chunk = this.#hit(gpa, 4);
    if (!chunk) return this.#readAcross(gpa, 4).getUint32(0, true);
    const at = this.#at;
    return (at & 3) === 0 ? (chunk.u32[at >>> 2] as number) : chunk.data.getUint32(at, true);
  }

  /** Reads 64 bits, little-endian, unsigned. */
  readU64(gpa: Gpa): bigint {
    const chunk = this.#hit(gpa, 8);
    if (!chunk) return this.#readAcross(gpa, 8).getBigUint64(0, true);
    const at = this.#at;
    return (at & 7) === 0 ? (chunk.u64[at >>> 3] as bigint) : chunk.data.getBigUint64(at, true);
  }

  /** Writes a byte; higher bits of `value` are dropped. */
  writeU8(gpa: Gpa, value: number): void {
    const chunk = this.#hit(gpa, 1);
    if (!chunk) this.#outOfBounds(gpa, 1);
    const at = this.#at;
    chunk.u8[at] = value;
    this.#wrote(chunk, at, 1);
  }

  /** Writes 16 bits, little-endian; higher bits of `value` are dropped. */
  writeU16(gpa: Gpa, value: number): void {
    const chunk = this.#hit(gpa, 2);
    if (!chunk) {
      this.#sparseData.setUint16(0, value, true);
      this.#writeAcross(gpa, 2);
      return;
    }
    const at = this.#at;
    if ((at & 1) === 0) chunk.u16[at >>> 1] = value;
    else chunk.data.setUint16(at, value, true);
    this.#wrote(chunk, at, 2);
  }

  /** Writes 32 bits, little-endian; higher bits of `value` are dropped. */
  writeU32(gpa: Gpa, value: number): void {
    const chunk = this.#hit(gpa, 4);
    if (!chunk) {
      this.#sparseData.setUint32(0, value, true);
      this.#writeAcross(gpa, 4);
      return;
    }
    const at = this.#at;
    if ((at & 3) === 0) chunk.u32[at >>> 2] = value;
    else chunk.data.setUint32(at, value, true);
    this.#wrote(chunk, at, 4);
  }

  /** Writes 64 bits, little-endian; higher bits of `value` are dropped. */
  writeU64(gpa: Gpa, value: bigint): void {
    const chunk = this.#hit(gpa, 8);
    if (!chunk) {
      this.#sparseData.setBigUint64(0, value, true);
      this.#writeAcross(gpa, 8);
      return;
    }
    const at = this.#at;
    if ((at & 7) === 0) chunk.u64[at >>> 3] = value;
    else chunk.data.setBigUint64(at, value, true);
    this.#wrote(chunk, at, 8);
  }

  /** Copies bytes out of the guest: into the given array, or as many as asked for into a new one, which it returns. */
  read(gpa: Gpa, target: Uint8Array | number): Uint8Array {
    const out = typeof target === "number" ? new Uint8Array(checkedLength(target)) : target;
    this.#walk(gpa, out.byteLength, (bytes, done) => out.set(bytes, done));
    return out;
  }

  /** Copies bytes into the guest. */
  write(gpa: Gpa, bytes: Uint8Array): void {
    let done = 0;
    this.#store(gpa, bytes.byteLength, (hva, view, length) => {
      if (view !== undefined) view.set(bytes.subarray(done, done + length));
      else memcpy(hva, addressOf(bytes) + BigInt(done), length);
      done += length;
    });
  }

  /** Fills a range with a byte. */
  fill(gpa: Gpa, length: bigint | number, byte: number): void {
    this.#store(gpa, Number(length), (hva, view, step) => {
      if (view !== undefined) view.fill(byte);
      else memset(hva, byte, step);
    });
  }

  /**
   * Writes a range in pieces and marks them. Where no view of a piece exists none is made: one that is new makes V8
   * collect garbage, which takes longer than what a boot loader has to write.
   */
  #store(gpa: Gpa, length: number, write: (hva: bigint, view: Uint8Array | undefined, length: number) => void): void {
    const ok = this.#pieces(this.#number(gpa), checkedLength(length), (region, offset, step) => {
      const at = offset % CHUNK_BYTES;
      const view = region.viewed(Math.floor(offset / CHUNK_BYTES))?.u8.subarray(at, at + step);
      write(region.hva + BigInt(offset), view, step);
      region.dirty.mark(Number(region.offset) + offset, step);
    });
    if (!ok) this.#outOfBounds(gpa, length);
  }

  /** Compares guest memory with bytes: 0 if equal, else -1 or 1 as the guest's first different byte is lower or higher. */
  compare(gpa: Gpa, bytes: Uint8Array): number {
    let result = 0;
    this.#walk(gpa, bytes.byteLength, (piece, done) => {
      result ||= Buffer.compare(piece, bytes.subarray(done, done + piece.byteLength));
    });
    return result;
  }

  /** Views of a range without a copy, one per 1 GiB chunk and region that it touches. Mark what is written to them. */
  slices(gpa: Gpa, length: number): Uint8Array[] {
    const slices: Uint8Array[] = [];
    this.#walk(gpa, length, (piece) => slices.push(piece));
    return slices;
  }

  /** A range by address, for readv and writev: one piece per stretch that is contiguous in this process. */
  pieces(gpa: Gpa, length: number): MemoryPiece[] {
    const pieces: { address: bigint; length: number }[] = [];
    const ok = this.#pieces(this.#number(gpa), checkedLength(length), (region, offset, step) => {
      const address = region.hva + BigInt(offset);
      const before = pieces[pieces.length - 1];
      if (before && before.address + BigInt(before.length) === address) before.length += step;
      else pieces.push({ address, length: step });
    });
    if (!ok) this.#outOfBounds(gpa, length);
    return pieces;
  }

  /** The address of a range in this process. Throws `GUEST_MEMORY_NOT_CONTIGUOUS` for one that is in several pieces. */
  hvaOf(gpa: Gpa, length: bigint | number): bigint {
    const address = this.#number(gpa);
    const bytes = Number(length);
    const region = this.#search(address);
    if (region && bytes >= 0 && address + bytes <= region.end) return region.hva + BigInt(address - region.start);
    const pieces = this.pieces(gpa, bytes);
    if (pieces.length === 1) return (pieces[0] as MemoryPiece).address;
    throw new BatonError(
      "GUEST_MEMORY_NOT_CONTIGUOUS",
      `${length} bytes at guest address ${hex(gpa)} are in ${pieces.length} pieces here`,
    );
  }

  #typed(gpa: Gpa, count: number, bytesEach: number): ArrayBufferView {
    const address = this.#number(gpa);
    const length = checkedLength(count) * bytesEach;
    if (address % bytesEach !== 0) {
      throw new BatonError("GUEST_MEMORY_MISALIGNED", `guest address ${hex(gpa)} is not a multiple of ${bytesEach}`);
    }
    const chunk = this.#hit(address, length);
    if (chunk) return chunk.u8.subarray(this.#at, this.#at + length);
    return new Uint8Array(view(this.hvaOf(gpa, length), length));
  }

  /** `count` 16-bit fields that the guest may touch at the same time. Mark what is written to them. */
  u16(gpa: Gpa, count: number): Uint16Array {
    const { buffer, byteOffset } = this.#typed(gpa, count, 2);
    return new Uint16Array(buffer, byteOffset, count);
  }

  /** `count` 32-bit fields that the guest may touch at the same time. */
  u32(gpa: Gpa, count: number): Uint32Array {
    const { buffer, byteOffset } = this.#typed(gpa, count, 4);
    return new Uint32Array(buffer, byteOffset, count);
  }

  /** `count` signed 32-bit fields that the guest may touch at the same time; Atomics works on them. */
  i32(gpa: Gpa, count: number): Int32Array {
    const { buffer, byteOffset } = this.#typed(gpa, count, 4);
    return new Int32Array(buffer, byteOffset, count);
  }

  /** `count` 64-bit fields that the guest may touch at the same time. */
  u64(gpa: Gpa, count: number): BigUint64Array {
    const { buffer, byteOffset } = this.#typed(gpa, count, 8);
    return new BigUint64Array(buffer, byteOffset, count);
  }

  /** Marks a range dirty that was written through views or by a system call; to be called after the write. */
  markDirty(gpa: Gpa, length: number): void {
    const ok = this.#pieces(this.#number(gpa), checkedLength(length), (region, offset, step) => {
      region.dirty.mark(Number(region.offset) + offset, step);
    });
    if (!ok) this.#outOfBounds(gpa, length);
  }

  /** Stops following rebases. The blocks stay open: they are their owner's. A second call does nothing. */
  close(): void {
    for (const release of this.#release.splice(0)) release();
  }
}

function checkedLength(length: number): number {
  if (!Number.isSafeInteger(length) || length < 0)
    throw new BatonError("INVALID_ARGUMENT", `length must be an integer, not ${length}`);
  return length;
}

function attachedRegions(descriptor: GuestMemoryDescriptor): Region[] {
  const bitmaps = new Map<SharedArrayBuffer, DirtyBitmap>();
  return descriptor.regions.map((region) => {
    const dirty = bitmaps.get(region.dirty) ?? new DirtyBitmap(Number(region.blockSize), region.dirty);
    bitmaps.set(region.dirty, dirty);
    return new Region({ ...region, dirty });
  });
}
