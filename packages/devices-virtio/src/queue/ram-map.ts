import { BatonError, type IoVector } from "@baton/linux";
import { CHUNK_BYTES, type DirtyBitmap, DirtyLog, type GuestMemory } from "@baton/memory";

/** What the hot path needs to know of a region; addresses are exact as numbers. */
interface Part {
  readonly start: number;
  readonly end: number;
  /** What is to be added to a guest address for the address in this process, and for the offset into the block. */
  readonly toHva: number;
  readonly toOffset: number;
  readonly dirty: DirtyBitmap;
  /** By chunk, as the memory has them. */
  readonly words: (Uint32Array | undefined)[];
  readonly halves: (Uint16Array | undefined)[];
}

/**
 * Answers for every descriptor what `has`, `markDirty` and `pieces` of a `GuestMemory` answer, without objects or
 * bigints. Guest addresses and lengths are integers of at least 0.
 */
export class RamMap {
  readonly memory: GuestMemory;
  /** Of the run of regions that was hit last. */
  #start = 0;
  #end = 0;
  #runs: (readonly [number, number])[] | undefined;
  #parts: readonly Part[] = [];
  #last: Part | undefined;
  /** Where the words begin that {@link RamMap.words} found last. */
  wordsStart = 0;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** Forgets what is remembered: to be called when the memory has taken another layout, or has moved. */
  refresh(): void {
    this.#runs = undefined;
    this.#parts = [];
    this.#last = undefined;
    this.#start = 0;
    this.#end = 0;
  }

  /** Whether a range of at least one byte is RAM throughout. */
  has(gpa: number, length: number): boolean {
    const end = gpa + length;
    if (gpa >= this.#start && end <= this.#end) return true;
    for (const [from, to] of this.#runs ?? this.#load()) {
      if (gpa < from || end > to) continue;
      this.#start = from;
      this.#end = to;
      return true;
    }
    return false;
  }

  /** Marks a range dirty that was RAM throughout. Throws `GUEST_MEMORY_OUT_OF_BOUNDS` if it is not any more. */
  mark(gpa: number, length: number): void {
    for (let at = gpa, left = length; left > 0; ) {
      const part = this.#at(at);
      const step = Math.min(left, part.end - at);
      part.dirty.mark(at + part.toOffset, step);
      at += step;
      left -= step;
    }
  }

  /** Adds a range to `target`; how many bytes found room there. Throws as {@link RamMap.mark}. */
  gather(target: IoVector, gpa: number, length: number): number {
    let done = 0;
    while (done < length) {
      const at = gpa + done;
      const part = this.#at(at);
      const step = Math.min(length - done, part.end - at);
      if (!target.add(at + part.toHva, step)) break;
      done += step;
    }
    return done;
  }

  /**
   * A range of `count` 32-bit fields, which begins at `wordsStart`: a view, or if it has no alignment or spans chunks a
   * copy of its first `most`.
   */
  words(gpa: number, count: number, most = count): Uint32Array {
    const part = this.#at(gpa);
    const offset = gpa - part.start;
    const chunk = Math.floor(offset / CHUNK_BYTES);
    const from = offset - chunk * CHUNK_BYTES;
    if ((from & 3) === 0 && from + count * 4 <= CHUNK_BYTES && gpa + count * 4 <= part.end) {
      this.wordsStart = from >>> 2;
      let words = part.words[chunk];
      if (words === undefined) {
        const start = part.start + chunk * CHUNK_BYTES;
        words = this.memory.u32(start, Math.min(CHUNK_BYTES, part.end - start) / 4);
        part.words[chunk] = words;
      }
      return words;
    }
    this.wordsStart = 0;
    const copy = new Uint32Array(Math.min(count, most));
    this.memory.read(gpa, new Uint8Array(copy.buffer));
    return copy;
  }

  /** A 32-bit field, at any alignment. */
  readU32(gpa: number): number {
    return this.words(gpa, 1)[this.wordsStart] as number;
  }

  /** Writes a 16-bit field, little-endian at any alignment, without a mark. */
  writeU16(gpa: number, value: number): void {
    const part = this.#at(gpa);
    const offset = gpa - part.start;
    const chunk = Math.floor(offset / CHUNK_BYTES);
    const from = offset - chunk * CHUNK_BYTES;
    const halves = part.halves[chunk] ?? this.#loadHalves(part, chunk);
    if ((from & 1) === 0) halves[from >>> 1] = value;
    else this.memory.writeU16(gpa, value);
  }

  #loadHalves(part: Part, chunk: number): Uint16Array {
    const start = part.start + chunk * CHUNK_BYTES;
    const halves = this.memory.u16(start, Math.min(CHUNK_BYTES, part.end - start) / 2);
    part.halves[chunk] = halves;
    return halves;
  }

  #at(gpa: number): Part {
    const last = this.#last;
    if (last !== undefined && gpa >= last.start && gpa < last.end) return last;
    if (this.#runs === undefined) this.#load();
    for (const part of this.#parts) {
      if (gpa < part.start || gpa >= part.end) continue;
      this.#last = part;
      return part;
    }
    throw new BatonError("GUEST_MEMORY_OUT_OF_BOUNDS", `guest address 0x${gpa.toString(16)} is not RAM any more`, {
      details: { gpa: BigInt(gpa), length: 1n },
    });
  }

  /** The memory's regions in ascending order, and the runs of those that touch. */
  #load(): (readonly [number, number])[] {
    const runs: [number, number][] = [];
    this.#parts = this.memory.describe().regions.map(({ gpa, size, hva, offset, blockSize, dirty }) => {
      const start = Number(gpa);
      const end = Number(gpa + size);
      const before = runs[runs.length - 1];
      if (before !== undefined && before[1] === start) before[1] = end;
      else runs.push([start, end]);
      return {
        start,
        end,
        toHva: Number(hva - gpa),
        toOffset: Number(offset - gpa),
        dirty: DirtyLog.attach({ size: Number(blockSize), buffer: dirty }),
        words: new Array<Uint32Array | undefined>(Math.ceil((end - start) / CHUNK_BYTES)).fill(undefined),
        halves: new Array<Uint16Array | undefined>(Math.ceil((end - start) / CHUNK_BYTES)).fill(undefined),
      };
    });
    this.#runs = runs;
    return runs;
  }
}
