import { statfsSync } from "node:fs";
import { type FdLike, rawFd } from "@baton/linux";
import { PAGE_SIZE } from "./backend.js";

const HUGETLBFS_MAGIC = 0x958458f6;

/** The page size in bytes with which an open file is mapped: that of hugetlbfs, else 4096. statfs(2). */
export function filePageSize(fd: FdLike): number {
  const { type, bsize } = statfsSync(`/proc/self/fd/${rawFd(fd)}`);
  return type >>> 0 === HUGETLBFS_MAGIC ? bsize : PAGE_SIZE;
}
