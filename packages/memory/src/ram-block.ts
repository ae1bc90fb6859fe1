import { BatonError, type Fd, fstat, MADV_DODUMP, MADV_DONTDUMP, madvise, munmap, view } from "@baton/linux";
import { openAnonymous } from "./backend/anonymous.js";
import {
  type BackendDescription,
  type BackendOptions,
  checkLength,
  checkSize,
  type OpenedBackend,
} from "./backend/backend.js";
import { openDax } from "./backend/dax.js";
import { openFile } from "./backend/file.js";
import { openMemfd } from "./backend/memfd.js";
import { filePageSize } from "./backend/page-size.js";
import { DirtyLog } from "./dirty-log.js";
import { mapRam } from "./mapping.js";
import { type PrefaultOptions, populate, prefault } from "./prefault.js";

/** What every way to make a block takes. */
export interface RamBlockOptions {
  /** Its name, as in `pc.ram`: the same on both sides of a migration. */
  readonly id: string;
  /** Bytes; a multiple of the backend's page size. */
  readonly size: bigint;
  /** Alignment of the address in bytes, a power of two; such that huge pages can be used unless given. */
  readonly align?: number;
  /** Whether core dumps contain it; true unless given. */
  readonly dump?: boolean;
}

/** What {@link RamBlock.create} takes. */
export interface CreateRamBlockOptions extends RamBlockOptions {
  /** A shared memfd unless given. */
  readonly backend?: BackendOptions;
  /** Allocates all of it before returning; false unless given. {@link RamBlock.prefault} does it without blocking. */
  readonly prealloc?: boolean;
}

/** What {@link RamBlock.fromFd} takes. */
export interface RamBlockFromFdOptions extends RamBlockOptions {
  /** Owned by the block from the return on. */
  readonly fd: Fd;
  /** Bytes into the descriptor, whole pages. */
  readonly offset?: bigint;
  /** Whether the guest's writes go to the descriptor; true unless given. */
  readonly share?: boolean;
  readonly backend?: BackendDescription;
  /** The granule of mapping in bytes; found out unless given. */
  readonly pageSize?: number;
}

/** What {@link RamBlock.rebase} maps instead. */
export interface RebaseOptions {
  /** Owned by the block from the return on. */
  readonly fd: Fd;
  readonly offset?: bigint;
  readonly share?: boolean;
  readonly backend?: BackendDescription;
}

/** Told to listeners of {@link RamBlock.onRebase}. */
export interface RebaseEvent {
  readonly block: RamBlock;
  readonly previousHva: bigint;
}

function openBackend(id: string, size: bigint, backend: BackendOptions): OpenedBackend {
  switch (backend.kind) {
    case "memfd":
      return openMemfd(id, size, backend);
    case "file":
      return openFile(id, size, backend);
    case "anonymous":
      return openAnonymous(id, size);
    case "dax":
      return openDax(id, size, backend);
  }
}

/**
 * A contiguous piece of guest RAM: a descriptor, mapped once in this process. Other threads see it by its address
 * (through `GuestMemory`), other processes by its descriptor. Children do not inherit the mapping.
 */
export class RamBlock {
  readonly id: string;
  /** Bytes. */
  readonly size: bigint;
  /** Which pages were written by devices, and what KVM logged. */
  readonly dirty: DirtyLog;
  #backend: OpenedBackend;
  #hva: bigint;
  #generation = 0;
  #closed = false;
  #dump: boolean;
  readonly #align: number | undefined;
  readonly #listeners = new Set<(event: RebaseEvent) => void>();

  private constructor(options: RamBlockOptions, backend: OpenedBackend) {
    this.id = options.id;
    this.size = options.size;
    this.#align = options.align;
    this.#dump = options.dump ?? true;
    this.#backend = backend;
    this.dirty = new DirtyLog(Number(options.size));
    this.#hva = this.#map(backend);
  }

  #map(backend: OpenedBackend): bigint {
    return mapRam({ id: this.id, size: this.size, align: this.#align, dump: this.#dump, ...backend });
  }

  /**
   * Makes memory. Throws `MEMORY_BACKEND_SIZE`, `MEMORY_BACKEND_ALIGN`, `MEMORY_BACKEND_TOO_SHORT`,
   * `MEMORY_BACKEND_NOT_DAX`, `MEMORY_BACKEND_OPEN`, `MEMORY_BACKEND_MAP` or `MEMORY_PREFAULT`, naming the block.
   */
  static create(options: CreateRamBlockOptions): RamBlock {
    const backend = openBackend(options.id, options.size, options.backend ?? { kind: "memfd" });
    let block: RamBlock | undefined;
    try {
      block = new RamBlock(options, backend);
      const step = Math.max(2 ** 30, block.pageSize);
      for (let offset = 0n; options.prealloc && offset < block.size; offset += BigInt(step)) {
        const rest = block.size - offset;
        populate(block, offset, rest < BigInt(step) ? Number(rest) : step);
      }
      return block;
    } catch (error) {
      if (block) block.close();
      else backend.fd.close();
      throw error;
    }
  }

  /**
   * Maps memory that another process or a file handed over; reads and writes nothing. When it throws, the descriptor
   * stays the caller's. Throws like {@link RamBlock.create}.
   */
  static fromFd(options: RamBlockFromFdOptions): RamBlock {
    return new RamBlock(options, checkedFd(options.id, options.size, options, options.pageSize));
  }

  /** The address in this process. It changes with {@link RamBlock.rebase}: do not keep it. */
  get hva(): bigint {
    if (this.#closed) throw new BatonError("MEMORY_CLOSED", `memory ${this.id} is closed`);
    return this.#hva;
  }

  get fd(): Fd {
    return this.#backend.fd;
  }

  /** Bytes into {@link RamBlock.fd} where the block starts. */
  get fdOffset(): bigint {
    return this.#backend.offset;
  }

  /** Whether the guest's writes go to {@link RamBlock.fd}. */
  get share(): boolean {
    return this.#backend.share;
  }

  get backend(): BackendDescription {
    return this.#backend.description;
  }

  /** The granule of mapping, in bytes. */
  get pageSize(): number {
    return this.#backend.pageSize;
  }

  /** Counts the rebases. */
  get generation(): number {
    return this.#generation;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** An ArrayBuffer over a part of at most 1 GiB, in bytes. Not to be kept across a rebase. Throws `MEMORY_OUT_OF_BOUNDS`. */
  view(offset: bigint | number, length: number): ArrayBuffer {
    const at = BigInt(offset);
    if (at < 0n || length < 0 || at + BigInt(length) > this.size) {
      throw new BatonError(
        "MEMORY_OUT_OF_BOUNDS",
        `memory ${this.id}: ${length} bytes at offset ${at} are not within its ${this.size}`,
      );
    }
    return view(this.hva + at, length);
  }

  /**
   * Maps other memory of the same size in place of the present one, at another address. Only at a quiesce point: no
   * vCPU runs, no device touches the memory. Listeners take the new address before the old mapping goes and its
   * descriptor is closed; threads that attached are given a new descriptor by their owner.
   * Throws like {@link RamBlock.create}; then everything is as before.
   */
  rebase(options: RebaseOptions): void {
    const previousHva = this.hva;
    const previous = this.#backend;
    const next = checkedFd(this.id, this.size, options);
    this.#hva = this.#map(next);
    this.#backend = next;
    this.#generation++;
    for (const listener of [...this.#listeners]) listener({ block: this, previousHva });
    munmap(previousHva, this.size);
    previous.fd.close();
  }

  /** Calls `listener` at every rebase, until the returned function is called. */
  onRebase(listener: (event: RebaseEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Allocates all of it in the background of the event loop. See {@link PrefaultOptions}. */
  prefault(options: PrefaultOptions = {}): Promise<void> {
    return prefault(this, options);
  }

  /** Whether core dumps of this process contain it. madvise(2) MADV_DONTDUMP. */
  setDump(dump: boolean): void {
    madvise(this.hva, this.size, dump ? MADV_DODUMP : MADV_DONTDUMP);
    this.#dump = dump;
  }

  /** Unmaps it and closes its descriptor; views of it must not be touched afterwards. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    munmap(this.#hva, this.size);
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkedFd(
  id: string,
  size: bigint,
  options: RebaseOptions,
  pageSize = filePageSize(options.fd),
): OpenedBackend {
  const { fd, offset = 0n, share = true, backend = { kind: "fd" } } = options;
  checkSize(id, size, pageSize);
  if (offset < 0n || offset % BigInt(pageSize) !== 0n) {
    throw new BatonError(
      "MEMORY_BACKEND_ALIGN",
      `memory ${id}: offset ${offset} into ${fd.name} is not a multiple of ${pageSize}`,
    );
  }
  if (backend.kind !== "dax") checkLength(id, fd.name, fstat(fd).size, offset, size);
  return { fd, offset, share, description: backend, pageSize };
}
