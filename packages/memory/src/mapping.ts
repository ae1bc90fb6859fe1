import {
  BatonError,
  type Fd,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  madvise,
  mmap,
  munmap,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  tryMadvise,
} from "@baton/linux";

/** What to map for a RAM block; sizes in bytes. */
export interface MappingOptions {
  readonly id: string;
  readonly fd: Fd;
  readonly size: bigint;
  readonly offset: bigint;
  readonly share: boolean;
  readonly pageSize: number;
  /** Of the address; a power of two, at least the page size. */
  readonly align?: number | undefined;
  readonly dump: boolean;
}

const THP = 2 ** 21;

/** The alignment of a block's address: what is asked for, else such that huge pages can be used. */
function alignment({ id, align, pageSize, size }: MappingOptions): bigint {
  const wanted = align ?? Math.max(pageSize, size >= BigInt(THP) ? THP : 0);
  if (!Number.isSafeInteger(wanted) || wanted < pageSize || Math.log2(wanted) % 1 !== 0) {
    throw new BatonError(
      "MEMORY_BACKEND_ALIGN",
      `memory ${id}: alignment ${wanted} is not a power of two of at least ${pageSize}`,
      {
        details: { id, align: wanted, pageSize },
      },
    );
  }
  return BigInt(wanted);
}

/**
 * Maps a block, aligned, not inherited by forks, and returns its address. Throws `MEMORY_BACKEND_ALIGN`,
 * `MEMORY_BACKEND_MAP`.
 */
export function mapRam(options: MappingOptions): bigint {
  const { id, fd, size, offset, share, pageSize, dump } = options;
  const align = alignment(options);
  // Reserve enough addresses to find an aligned one among them, then map over them.
  const reserved = size + align;
  const reservation = mmap({ length: reserved, prot: PROT_NONE, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE });
  const hva = ((reservation + align - 1n) / align) * align;
  const noReserve = !share && pageSize === 4096 ? MAP_NORESERVE : 0;
  try {
    const flags = (share ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | noReserve;
    mmap({ length: size, prot: PROT_READ | PROT_WRITE, flags, fd, offset, address: hva });
  } catch (cause) {
    munmap(reservation, reserved);
    throw new BatonError("MEMORY_BACKEND_MAP", `memory ${id}: ${(cause as Error).message}`, {
      hint: pageSize > 4096 ? `are ${size / BigInt(pageSize)} pages of ${pageSize} bytes free?` : undefined,
      cause,
      details: { id, size, offset },
    });
  }
  const end = hva + size;
  if (hva > reservation) munmap(reservation, hva - reservation);
  if (reservation + reserved > end) munmap(end, reservation + reserved - end);
  madvise(hva, size, MADV_DONTFORK);
  if (!dump) madvise(hva, size, MADV_DONTDUMP);
  // Advice only: files and kernels without huge pages refuse it.
  tryMadvise(hva, size, MADV_HUGEPAGE);
  return hva;
}
