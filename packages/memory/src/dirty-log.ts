import { BatonError } from "@baton/linux";
import { PAGE_SIZE } from "./backend/backend.js";
import { DirtyBitmap, type DirtyRange } from "./dirty-bitmap.js";

/** What another thread needs to mark pages of a block: post it, and give it to {@link DirtyLog.attach}. */
export interface DirtyLogDescriptor {
  /** Of the block, in bytes. */
  readonly size: number;
  readonly buffer: SharedArrayBuffer;
}

/** One consumer of a block's dirty pages, as a snapshot or a migration: it sees each mark once, whoever else reads. */
export interface DirtyReader {
  readonly name: string;
  /** Takes what was marked since the last call, as runs of pages in ascending order, in bytes. */
  take(): DirtyRange[];
  /** Like {@link DirtyReader.take}, but calls `each` with every run instead of making objects. */
  drain(each: (offset: number, length: number) => void): void;
  /** The number of pages that {@link DirtyReader.take} would cover. */
  count(): number;
  /** Marks ranges again for this reader alone, after it failed to save them. */
  putBack(ranges: Iterable<DirtyRange>): void;
  /** Ends the reader. A second call does nothing. */
  close(): void;
}

/**
 * The dirty pages of one RAM block: a bitmap that every thread marks, and any number of named readers in the thread that
 * owns the block. The guest's own writes come from KVM's log through {@link DirtyLog.mergeWords}.
 */
export class DirtyLog {
  /** Of the block, in bytes. */
  readonly size: number;
  /** What is marked and not yet handed to the readers. */
  readonly source: DirtyBitmap;
  readonly #readers = new Map<string, DirtyBitmap>();

  /** `size` in bytes, whole pages. */
  constructor(size: number) {
    this.size = size;
    this.source = new DirtyBitmap(size);
  }

  /** Marks the pages that a range touches, in bytes; to be called after the write. Throws `MEMORY_OUT_OF_BOUNDS`. */
  mark(offset: number, length: number): void {
    this.source.mark(offset, length);
  }

  /** Marks what KVM logged for a memory slot that starts `offset` bytes into the block, a multiple of 128 KiB. */
  mergeWords(words: Uint32Array, offset = 0): void {
    this.source.mergeWords(words, offset / PAGE_SIZE);
  }

  /**
   * Adds a reader that starts with no page, or with all of them. Throws `DIRTY_READER_EXISTS` for a name in use.
   */
  reader(name: string, initial: "clean" | "all" = "clean"): DirtyReader {
    if (this.#readers.has(name))
      throw new BatonError("DIRTY_READER_EXISTS", `a dirty log has a reader ${name} already`);
    this.#distribute();
    const own = new DirtyBitmap(this.size);
    if (initial === "all") own.markAll();
    this.#readers.set(name, own);
    const open = () => {
      if (this.#readers.get(name) !== own)
        throw new BatonError("DIRTY_READER_CLOSED", `the dirty reader ${name} is closed`);
      this.#distribute();
    };
    return {
      name,
      take: () => {
        open();
        return own.take();
      },
      drain: (each) => {
        open();
        own.drain(each);
      },
      count: () => {
        open();
        return own.count();
      },
      putBack: (ranges) => {
        for (const { offset, length } of ranges) own.mark(offset, length);
      },
      close: () => {
        if (this.#readers.get(name) === own) this.#readers.delete(name);
      },
    };
  }

  /** The names of the readers. */
  get readers(): readonly string[] {
    return [...this.#readers.keys()];
  }

  #distribute(): void {
    this.source.drainInto([...this.#readers.values()]);
  }

  /** What another thread needs to mark pages. */
  describe(): DirtyLogDescriptor {
    return { size: this.size, buffer: this.source.buffer };
  }

  /** The marking side of a log that lives in another thread. */
  static attach(descriptor: DirtyLogDescriptor): DirtyBitmap {
    return new DirtyBitmap(descriptor.size, descriptor.buffer);
  }
}
