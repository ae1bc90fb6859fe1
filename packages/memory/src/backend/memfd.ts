import { BatonError, ftruncate, memfdCreate } from "@baton/linux";
import { type BackendOptions, checkSize, type OpenedBackend, PAGE_SIZE } from "./backend.js";

const HUGE = { "2M": 2 ** 21, "1G": 2 ** 30 } as const;

/** Makes an anonymous file of the block's size. Throws `MEMORY_BACKEND_OPEN`. memfd_create(2). */
export function openMemfd(id: string, size: bigint, options: BackendOptions & { kind: "memfd" }): OpenedBackend {
  const { hugePages, share = true } = options;
  const pageSize = hugePages ? HUGE[hugePages] : PAGE_SIZE;
  checkSize(id, size, pageSize);
  try {
    const fd = memfdCreate(`baton-ram-${id}`.slice(0, 200), { hugePages });
    try {
      ftruncate(fd, size);
    } catch (error) {
      fd.close();
      throw error;
    }
    return {
      fd,
      description: hugePages ? { kind: "memfd", hugePages } : { kind: "memfd" },
      share,
      offset: 0n,
      pageSize,
    };
  } catch (cause) {
    throw new BatonError("MEMORY_BACKEND_OPEN", `memory ${id}: ${(cause as Error).message}`, {
      cause,
      details: { id, size },
    });
  }
}
