import { BatonError, MADV_POPULATE_WRITE, throwIfAborted, tryMadvise, view } from "@baton/linux";
import type { RamBlock } from "./ram-block.js";

/** How {@link prefault} proceeds. */
export interface PrefaultOptions {
  /** Ends it with the signal's reason; pages that were allocated stay. */
  readonly signal?: AbortSignal;
  /** Told after every chunk, in bytes. */
  readonly onProgress?: (done: bigint, total: bigint) => void;
  /** Bytes at a time, between which the event loop runs; 64 MiB unless given. */
  readonly chunkBytes?: number;
}

const EINVAL = 22;

/** For kernels before 5.14: a write to every page that changes nothing, whatever else writes there. */
function touch(hva: bigint, length: number, pageSize: number): void {
  const words = new Int32Array(view(hva, length));
  for (let at = 0; at < length; at += pageSize) Atomics.or(words, at >> 2, 0);
}

/** Allocates a range of a block at once. Throws `MEMORY_PREFAULT`, naming the block and the offset. */
export function populate(block: RamBlock, offset: bigint, length: number): void {
  const hva = block.hva + offset;
  const result = tryMadvise(hva, length, MADV_POPULATE_WRITE);
  if (result === -EINVAL) touch(hva, length, block.pageSize);
  else if (result < 0) {
    throw new BatonError(
      "MEMORY_PREFAULT",
      `memory ${block.id}: ${length} bytes at offset ${offset} cannot be allocated`,
      {
        syscall: "madvise",
        errno: -result,
        hint: "the host has too little free memory",
        details: { id: block.id, offset, length, size: block.size },
      },
    );
  }
}

/**
 * Allocates all memory of a block, so that the guest's first touch does not. Content is kept, and the guest may run.
 * Rejects with the signal's reason, or `MEMORY_PREFAULT`. madvise(2) MADV_POPULATE_WRITE.
 */
export async function prefault(block: RamBlock, options: PrefaultOptions = {}): Promise<void> {
  const { signal, onProgress, chunkBytes = 2 ** 26 } = options;
  const step = Math.max(block.pageSize, chunkBytes - (chunkBytes % block.pageSize));
  for (let offset = 0n; offset < block.size; ) {
    throwIfAborted(signal);
    const length = Number(block.size - offset < BigInt(step) ? block.size - offset : BigInt(step));
    populate(block, offset, length);
    offset += BigInt(length);
    onProgress?.(offset, block.size);
    await new Promise(setImmediate);
  }
}
