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

/** What a queue found out about a chain. */
export interface ChainParts {
  /** What the driver recognises the buffer by: the head descriptor's number if split, the buffer id if packed. */
  readonly id: number;
  /** Where the queue found it: the available index if split (16 bits), the place of the first descriptor if packed. */
  readonly position: number;
  /** The descriptors of the queue that it takes up; an indirect table is one. */
  readonly descriptors: number;
  /** What the device reads, in order. */
  readonly readable: readonly ChainPiece[];
  /** What the device may write, in order: it comes after all that is readable (virtio 1.2, 2.7.4.2). */
  readonly writable: readonly ChainPiece[];
  /** Bytes. */
  readonly readableLength: number;
  /** Bytes. */
  readonly writableLength: number;
}

let make: (ram: RamMap, owner: object, parts: ChainParts) => Chain;

/** Makes a chain of parts that have been checked: queues do. */
export function makeChain(ram: RamMap, owner: object, parts: ChainParts): Chain {
  return make(ram, owner, parts);
}

/**
 * A buffer that the driver made available (virtio 1.2, 2.7.13 and 2.8.21), checked when it was popped: all of it is RAM.
 * How the driver cut it into descriptors means nothing (2.7.4.1), so offsets count over all pieces. It holds guest
 * addresses only and so survives a rebase; the slices and pieces that it gives out do not.
 */
export class Chain implements ChainParts {
  readonly id: number;
  readonly position: number;
  readonly descriptors: number;
  readonly readable: readonly ChainPiece[];
  readonly writable: readonly ChainPiece[];
  readonly readableLength: number;
  readonly writableLength: number;
  /** What stands for the queue between two resets: a chain of an earlier time is not pushed any more. */
  readonly owner: object;
  readonly #ram: RamMap;
  #exposed = false;

  static {
    make = (ram, owner, parts) => new Chain(ram, owner, parts);
  }

  private constructor(ram: RamMap, owner: object, parts: ChainParts) {
    this.#ram = ram;
    this.owner = owner;
    this.id = parts.id;
    this.position = parts.position;
    this.descriptors = parts.descriptors;
    this.readable = parts.readable;
    this.writable = parts.writable;
    this.readableLength = parts.readableLength;
    this.writableLength = parts.writableLength;
  }

  /** Copies readable bytes from `offset` on into `target`, as many as there are; returns how many. */
  read(target: Uint8Array, offset = 0): number {
    const length = Math.max(0, Math.min(target.byteLength, this.readableLength - offset));
    walk(this.readable, offset, length, (gpa, done, step) => {
      this.#ram.memory.read(gpa, target.subarray(done, done + step));
    });
    return length;
  }

  /** A 32-bit field of the readable part, little-endian. Throws `INVALID_ARGUMENT` where there are no four bytes. */
  readU32(offset: number): number {
    const first = this.readable[0];
    if (first !== undefined && offset >= 0 && offset + 4 <= first.length) return this.#ram.readU32(first.gpa + offset);
    const field = new Uint32Array(1);
    if (this.read(new Uint8Array(field.buffer), offset) < 4) throw invalidRange(offset, 4);
    return field[0] as number;
  }

  /**
   * Writes a 16-bit field of the writable part, little-endian; {@link Chain.complete} marks it. Throws `INVALID_ARGUMENT`
   * where there are no two bytes.
   */
  writeU16(offset: number, value: number): void {
    const first = this.writable[0];
    if (first !== undefined && offset >= 0 && offset + 2 <= first.length) {
      this.#exposed = true;
      this.#ram.writeU16(first.gpa + offset, value);
    } else if (this.write(Uint8Array.of(value, value >>> 8), offset) < 2) throw invalidRange(offset, 2);
  }

  /** Writes one byte of the writable part, and marks it dirty. Throws `INVALID_ARGUMENT` where there is none. */
  writeU8(offset: number, value: number): void {
    let at = offset;
    for (const { gpa, length } of this.writable) {
      if (at >= 0 && at < length) {
        this.#ram.memory.writeU8(gpa + at, value);
        return;
      }
      at -= length;
    }
    throw invalidRange(offset, 1);
  }

  /** Copies bytes into the writable part from `offset` on, as many as fit, and marks them dirty; returns how many. */
  write(bytes: Uint8Array, offset = 0): number {
    const length = Math.max(0, Math.min(bytes.byteLength, this.writableLength - offset));
    walk(this.writable, offset, length, (gpa, done, step) => {
      this.#ram.memory.write(gpa, bytes.subarray(done, done + step));
    });
    return length;
  }

  /** Views of readable bytes, without a copy; all of them unless a range is given. */
  readableSlices(offset = 0, length = this.readableLength - offset): Uint8Array[] {
    return this.#slices(this.readable, offset, length);
  }

  /** Views of writable bytes, without a copy. {@link Chain.complete} or {@link Chain.markWritten} marks them. */
  writableSlices(offset = 0, length = this.writableLength - offset): Uint8Array[] {
    this.#exposed = true;
    return this.#slices(this.writable, offset, length);
  }

  /** Readable bytes by address, for writev; all of them unless a range is given. One call takes IOV_MAX pieces. */
  readablePieces(offset = 0, length = this.readableLength - offset): MemoryPiece[] {
    return this.#pieces(this.readable, offset, length);
  }

  /** Writable bytes by address, for readv. {@link Chain.complete} or {@link Chain.markWritten} marks them. */
  writablePieces(offset = 0, length = this.writableLength - offset): MemoryPiece[] {
    this.#exposed = true;
    return this.#pieces(this.writable, offset, length);
  }

  /**
   * Adds readable bytes to `target`, for writev in hot loops: no object or bigint is made. Returns how many of them found
   * room there; all of those asked for, but for a chain of more pieces than `target` takes.
   */
  gatherReadable(target: IoVector, offset = 0, length = this.readableLength - offset): number {
    return gather(this.#ram, this.readable, target, offset, length);
  }

  /**
   * Like {@link Chain.gatherReadable} for writable bytes and readv. {@link Chain.complete} or {@link Chain.markWritten}
   * marks them.
   */
  gatherWritable(target: IoVector, offset = 0, length = this.writableLength - offset): number {
    this.#exposed = true;
    return gather(this.#ram, this.writable, target, offset, length);
  }

  /**
   * Marks the first `written` writable bytes dirty if they can have been written through slices or pieces; the queue does
   * it in a push. {@link Chain.write} has marked its own.
   */
  complete(written: number): void {
    if (!this.#exposed) return;
    this.#exposed = false;
    let left = written;
    for (const { gpa, length } of this.writable) {
      if (left <= 0) return;
      this.#ram.mark(gpa, Math.min(left, length));
      left -= length;
    }
    if (left > 0) throw invalidRange(0, written);
  }

  /** Marks writable bytes dirty: those written through slices or pieces that the length told to the driver leaves out. */
  markWritten(offset: number, length: number): void {
    walk(this.writable, offset, length, (gpa, _done, step) => this.#ram.mark(gpa, step));
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

  #slices(pieces: readonly ChainPiece[], offset: number, length: number): Uint8Array[] {
    const slices: Uint8Array[] = [];
    walk(pieces, offset, length, (gpa, _done, step) => slices.push(...this.#ram.memory.slices(gpa, step)));
    return slices;
  }

  #pieces(pieces: readonly ChainPiece[], offset: number, length: number): MemoryPiece[] {
    const found: { address: bigint; length: number }[] = [];
    walk(pieces, offset, length, (gpa, _done, step) => {
      for (const { address, length } of this.#ram.memory.pieces(gpa, step)) {
        const before = found[found.length - 1];
        if (before !== undefined && before.address + BigInt(before.length) === address) before.length += length;
        else found.push({ address, length });
      }
    });
    return found;
  }
}

function invalidRange(offset: number, length: number): BatonError {
  return new BatonError("INVALID_ARGUMENT", `${length} bytes at offset ${offset} are no range of the chain`);
}

function checkRange(offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0) return;
  throw invalidRange(offset, length);
}

/** Calls `each` with the parts of pieces that a range of them covers. */
function walk(
  pieces: readonly ChainPiece[],
  offset: number,
  length: number,
  each: (gpa: number, done: number, step: number) => void,
): void {
  checkRange(offset, length);
  let skip = offset;
  let done = 0;
  for (const piece of pieces) {
    if (done === length) return;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const step = Math.min(piece.length - skip, length - done);
    each(piece.gpa + skip, done, step);
    done += step;
    skip = 0;
  }
  if (done < length) throw invalidRange(offset, length);
}

/** As `walk`, without a closure. */
function gather(ram: RamMap, pieces: readonly ChainPiece[], target: IoVector, offset: number, length: number): number {
  checkRange(offset, length);
  let skip = offset;
  let done = 0;
  for (const piece of pieces) {
    if (done === length) return done;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const step = Math.min(piece.length - skip, length - done);
    const taken = ram.gather(target, piece.gpa + skip, step);
    done += taken;
    if (taken < step) return done;
    skip = 0;
  }
  if (done < length) throw invalidRange(offset, length);
  return done;
}
