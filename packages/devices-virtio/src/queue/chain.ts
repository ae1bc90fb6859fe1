import { BatonError, type IoVector, type MemoryPiece } from "@baton/linux";
import type { RamMap } from "./ram-map.js";

/** A part of a buffer, in bytes: RAM throughout, never empty. */
export interface ChainPiece {
  readonly gpa: number;
  readonly length: number;
}

/** A chain as plain data, for a device that keeps one across a save: see `VirtQueue.restoreChain`. */
export interface ChainState {
  readonly id: number;
  readonly position: number;
  readonly descriptors: number;
  readonly readable: readonly { readonly gpa: bigint; readonly length: number }[];
  readonly writable: readonly { readonly gpa: bigint; readonly length: number }[];
}

/** What a queue has collected of a chain, without an object for each piece: addresses and lengths by turns. */
export interface CollectedPieces {
  readonly pieces: readonly number[];
  /** Where those begin that the device may write. */
  readonly firstWritable: number;
  /** Bytes. */
  readonly readableLength: number;
  /** Bytes. */
  readonly writableLength: number;
}

let makeChain: (
  ram: RamMap,
  owner: object,
  id: number,
  position: number,
  descriptors: number,
  collected: CollectedPieces,
) => Chain;

/**
 * A buffer that the driver made available (virtio 1.2, 2.7.13 and 2.8.21), checked when it was popped: all of it is RAM.
 * How the driver cut it into descriptors means nothing (2.7.4.1), so offsets count over all pieces. It holds guest
 * addresses only and so survives a rebase; the slices and pieces that it gives out do not.
 */
export class Chain {
  /** What the driver recognises the buffer by: the head descriptor's number if split, the buffer id if packed. */
  readonly id: number;
  /** Where the queue found it: the available index if split (16 bits), the place of the first descriptor if packed. */
  readonly position: number;
  /** The descriptors of the queue that it takes up; an indirect table is one. */
  readonly descriptors: number;
  /** Bytes. */
  readonly readableLength: number;
  /** Bytes. */
  readonly writableLength: number;
  /** What stands for the queue between two resets: a chain of an earlier time is not pushed any more. */
  readonly owner: object;
  readonly #ram: RamMap;
  readonly #pieces: readonly number[];
  readonly #firstWritable: number;
  #exposed = false;

  static {
    makeChain = (ram, owner, id, position, descriptors, collected) =>
      new Chain(ram, owner, id, position, descriptors, collected);
  }

  private constructor(
    ram: RamMap,
    owner: object,
    id: number,
    position: number,
    descriptors: number,
    collected: CollectedPieces,
  ) {
    this.#ram = ram;
    this.owner = owner;
    this.id = id;
    this.position = position;
    this.descriptors = descriptors;
    this.readableLength = collected.readableLength;
    this.writableLength = collected.writableLength;
    this.#pieces = collected.pieces;
    this.#firstWritable = collected.firstWritable;
  }

  /** What the device reads, in order: a new array each time. */
  get readable(): readonly ChainPiece[] {
    return piecesOf(this.#pieces, 0, this.#firstWritable);
  }

  /** What it may write, in order, after all that is readable (virtio 1.2, 2.7.4.2): a new array each time. */
  get writable(): readonly ChainPiece[] {
    return piecesOf(this.#pieces, this.#firstWritable, this.#pieces.length);
  }

  /** Copies readable bytes from `offset` on into `target`, as many as there are; returns how many. */
  read(target: Uint8Array, offset = 0): number {
    const length = Math.max(0, Math.min(target.byteLength, this.readableLength - offset));
    this.#walk(READABLE, offset, length, (gpa, done, step) => {
      this.#ram.memory.read(gpa, target.subarray(done, done + step));
    });
    return length;
  }

  /** A 32-bit field of the readable part, little-endian. Throws `INVALID_ARGUMENT` where there are no four bytes. */
  readU32(offset: number): number {
    const pieces = this.#pieces;
    if (this.#firstWritable > 0 && offset >= 0 && offset + 4 <= (pieces[1] as number)) {
      return this.#ram.readU32((pieces[0] as number) + offset);
    }
    const field = new Uint32Array(1);
    if (this.read(new Uint8Array(field.buffer), offset) < 4) throw invalidRange(offset, 4);
    return field[0] as number;
  }

  /**
   * Writes a 16-bit field of the writable part, little-endian; {@link Chain.complete} marks it. Throws `INVALID_ARGUMENT`
   * where there are no two bytes.
   */
  writeU16(offset: number, value: number): void {
    const pieces = this.#pieces;
    const first = this.#firstWritable;
    if (first < pieces.length && offset >= 0 && offset + 2 <= (pieces[first + 1] as number)) {
      this.#exposed = true;
      this.#ram.writeU16((pieces[first] as number) + offset, value);
    } else if (this.write(Uint8Array.of(value, value >>> 8), offset) < 2) throw invalidRange(offset, 2);
  }

  /** Writes one byte of the writable part, and marks it dirty. Throws `INVALID_ARGUMENT` where there is none. */
  writeU8(offset: number, value: number): void {
    const pieces = this.#pieces;
    let at = offset;
    for (let i = this.#firstWritable; i < pieces.length; i += 2) {
      const length = pieces[i + 1] as number;
      if (at >= 0 && at < length) {
        this.#ram.memory.writeU8((pieces[i] as number) + at, value);
        return;
      }
      at -= length;
    }
    throw invalidRange(offset, 1);
  }

  /** Copies bytes into the writable part from `offset` on, as many as fit, and marks them dirty; returns how many. */
  write(bytes: Uint8Array, offset = 0): number {
    const length = Math.max(0, Math.min(bytes.byteLength, this.writableLength - offset));
    this.#walk(WRITABLE, offset, length, (gpa, done, step) => {
      this.#ram.memory.write(gpa, bytes.subarray(done, done + step));
    });
    return length;
  }

  /** Views of readable bytes, without a copy; all of them unless a range is given. */
  readableSlices(offset = 0, length = this.readableLength - offset): Uint8Array[] {
    return this.#slices(READABLE, offset, length);
  }

  /** Views of writable bytes, without a copy. {@link Chain.complete} or {@link Chain.markWritten} marks them. */
  writableSlices(offset = 0, length = this.writableLength - offset): Uint8Array[] {
    this.#exposed = true;
    return this.#slices(WRITABLE, offset, length);
  }

  /** Readable bytes by address, for writev; all of them unless a range is given. One call takes IOV_MAX pieces. */
  readablePieces(offset = 0, length = this.readableLength - offset): MemoryPiece[] {
    return this.#addresses(READABLE, offset, length);
  }

  /** Writable bytes by address, for readv. {@link Chain.complete} or {@link Chain.markWritten} marks them. */
  writablePieces(offset = 0, length = this.writableLength - offset): MemoryPiece[] {
    this.#exposed = true;
    return this.#addresses(WRITABLE, offset, length);
  }

  /**
   * Adds readable bytes to `target`, for writev in hot loops: no object or bigint is made. Returns how many of them found
   * room there; all of those asked for, but for a chain of more pieces than `target` takes.
   */
  gatherReadable(target: IoVector, offset = 0, length = this.readableLength - offset): number {
    return this.#gather(READABLE, target, offset, length);
  }

  /**
   * Like {@link Chain.gatherReadable} for writable bytes and readv. {@link Chain.complete} or {@link Chain.markWritten}
   * marks them.
   */
  gatherWritable(target: IoVector, offset = 0, length = this.writableLength - offset): number {
    this.#exposed = true;
    return this.#gather(WRITABLE, target, offset, length);
  }

  /**
   * Marks the first `written` writable bytes dirty if they can have been written through slices or pieces; the queue does
   * it in a push. {@link Chain.write} has marked its own.
   */
  complete(written: number): void {
    if (!this.#exposed) return;
    this.#exposed = false;
    const pieces = this.#pieces;
    let left = written;
    for (let i = this.#firstWritable; i < pieces.length && left > 0; i += 2) {
      const length = pieces[i + 1] as number;
      this.#ram.mark(pieces[i] as number, Math.min(left, length));
      left -= length;
    }
    if (left > 0) throw invalidRange(0, written);
  }

  /** Marks writable bytes dirty: those written through slices or pieces that the length told to the driver leaves out. */
  markWritten(offset: number, length: number): void {
    this.#walk(WRITABLE, offset, length, (gpa, _done, step) => this.#ram.mark(gpa, step));
  }

  /** The chain as plain data. */
  save(): ChainState {
    const plain = ({ gpa, length }: ChainPiece) => ({ gpa: BigInt(gpa), length });
    return {
      id: this.id,
      position: this.position,
      descriptors: this.descriptors,
      readable: this.readable.map(plain),
      writable: this.writable.map(plain),
    };
  }

  #slices(side: Side, offset: number, length: number): Uint8Array[] {
    const slices: Uint8Array[] = [];
    this.#walk(side, offset, length, (gpa, _done, step) => slices.push(...this.#ram.memory.slices(gpa, step)));
    return slices;
  }

  #addresses(side: Side, offset: number, length: number): MemoryPiece[] {
    const found: { address: bigint; length: number }[] = [];
    this.#walk(side, offset, length, (gpa, _done, step) => {
      for (const { address, length } of this.#ram.memory.pieces(gpa, step)) {
        const before = found[found.length - 1];
        if (before !== undefined && before.address + BigInt(before.length) === address) before.length += length;
        else found.push({ address, length });
      }
    });
    return found;
  }

  /** Calls `each` with the parts of pieces that a range of them covers. */
  #walk(side: Side, offset: number, length: number, each: (gpa: number, done: number, step: number) => void): void {
    checkRange(offset, length);
    const pieces = this.#pieces;
    const end = side === READABLE ? this.#firstWritable : pieces.length;
    let skip = offset;
    let done = 0;
    for (let i = side === READABLE ? 0 : this.#firstWritable; i < end && done < length; i += 2) {
      const bytes = pieces[i + 1] as number;
      if (skip >= bytes) {
        skip -= bytes;
        continue;
      }
      const step = Math.min(bytes - skip, length - done);
      each((pieces[i] as number) + skip, done, step);
      done += step;
      skip = 0;
    }
    if (done < length) throw invalidRange(offset, length);
  }

  /** As `#walk`, without a closure. */
  #gather(side: Side, target: IoVector, offset: number, length: number): number {
    checkRange(offset, length);
    const pieces = this.#pieces;
    const end = side === READABLE ? this.#firstWritable : pieces.length;
    let skip = offset;
    let done = 0;
    for (let i = side === READABLE ? 0 : this.#firstWritable; i < end && done < length; i += 2) {
      const bytes = pieces[i + 1] as number;
      if (skip >= bytes) {
        skip -= bytes;
        continue;
      }
      const step = Math.min(bytes - skip, length - done);
      const taken = this.#ram.gather(target, (pieces[i] as number) + skip, step);
      done += taken;
      if (taken < step) return done;
      skip = 0;
    }
    if (done < length) throw invalidRange(offset, length);
    return done;
  }
}

/** Makes a chain of pieces that have been checked: queues do. */
export { makeChain };

/** What the device reads, or may write. */
type Side = typeof READABLE | typeof WRITABLE;
const READABLE = 0;
const WRITABLE = 1;

function piecesOf(pieces: readonly number[], from: number, to: number): ChainPiece[] {
  const found: ChainPiece[] = [];
  for (let i = from; i < to; i += 2) found.push({ gpa: pieces[i] as number, length: pieces[i + 1] as number });
  return found;
}

function invalidRange(offset: number, length: number): BatonError {
  return new BatonError("INVALID_ARGUMENT", `${length} bytes at offset ${offset} are no range of the chain`);
}

function checkRange(offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0) return;
  throw invalidRange(offset, length);
}
