import { O_RDWR, open } from "@baton/linux";
import { checkSize, type OpenedBackend, PAGE_SIZE } from "./backend.js";

/** Private memory: a private mapping of /dev/zero is anonymous memory, see zero(4). */
export function openAnonymous(id: string, size: bigint): OpenedBackend {
  checkSize(id, size, PAGE_SIZE);
  const fd = open("/dev/zero", O_RDWR);
  return { fd, description: { kind: "anonymous" }, share: false, offset: 0n, pageSize: PAGE_SIZE };
}
