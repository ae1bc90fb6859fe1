import { BatonError, type Fd } from "@baton/linux";

/** The page size of x86-64, in bytes. */
export const PAGE_SIZE = 4096;

/** Where a RAM block's memory comes from. */
export type BackendOptions =
  /**
   * Shared memory without a name, the default. `share: false` keeps the guest's writes private to this process, at twice
   * the memory: rather take `anonymous`.
   */
  | { readonly kind: "memfd"; readonly hugePages?: "2M" | "1G"; readonly share?: boolean }
  /**
   * A file, also one on hugetlbfs. A file that does not exist, or is empty, is made as long as the block (unless
   * `create` is false); in a directory, an unnamed one. `share: false` keeps the guest's writes out of it.
   */
  | {
      readonly kind: "file";
      readonly path: string;
      readonly share: boolean;
      readonly create?: boolean;
      /** Bytes into the file, whole pages. */
      readonly offset?: bigint;
    }
  /** Private memory that no other process can be given. */
  | { readonly kind: "anonymous" }
  /** A device DAX character device (/dev/dax0.0): persistent or soft-reserved memory. */
  | { readonly kind: "dax"; readonly path: string };

/** What a block is backed by, as plain data for messages and hand-over. */
export interface BackendDescription {
  readonly kind: "memfd" | "file" | "dax" | "anonymous" | "fd";
  readonly path?: string;
  readonly hugePages?: "2M" | "1G";
}

/** An opened backend: a descriptor to map. */
export interface OpenedBackend {
  readonly fd: Fd;
  readonly description: BackendDescription;
  readonly share: boolean;
  /** Bytes into the descriptor. */
  readonly offset: bigint;
  /** The granule of mapping, in bytes. */
  readonly pageSize: number;
}

/** Throws `MEMORY_BACKEND_SIZE` unless the size is positive and a multiple of the page size. */
export function checkSize(id: string, size: bigint, pageSize: number): void {
  if (typeof size !== "bigint" || size <= 0n || size % BigInt(pageSize) !== 0n) {
    throw new BatonError(
      "MEMORY_BACKEND_SIZE",
      `memory ${id}: size ${size} is not a positive multiple of the page size ${pageSize}`,
      {
        hint: "sizes are in bytes",
        details: { id, size, pageSize },
      },
    );
  }
}

/** Throws `MEMORY_BACKEND_TOO_SHORT` unless `available` bytes hold the block. */
export function checkLength(id: string, what: string, available: bigint, offset: bigint, size: bigint): void {
  if (available < offset + size) {
    const from = offset === 0n ? "" : ` from offset ${offset}`;
    throw new BatonError(
      "MEMORY_BACKEND_TOO_SHORT",
      `memory ${id}: ${what} has ${available} bytes, the block needs ${size}${from}`,
      {
        details: { id, available, offset, size },
      },
    );
  }
}
