import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { BatonError, type Fd, fstat, ftruncate, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, open, unlink } from "@baton/linux";
import { type BackendOptions, checkLength, checkSize, type OpenedBackend } from "./backend.js";
import { filePageSize } from "./page-size.js";

function openNamed(path: string, share: boolean, create: boolean): Fd {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const unnamed = join(path, `.baton-ram-${randomBytes(8).toString("hex")}`);
    const fd = open(unnamed, O_RDWR | O_CREAT | O_EXCL, 0o600);
    unlink(unnamed);
    return fd;
  }
  try {
    return open(path, O_RDWR | (create ? O_CREAT : 0), 0o600);
  } catch (error) {
    // A template that only root may write serves private mappings all the same.
    if (!share && BatonError.is(error) && (error.errnoName === "EACCES" || error.errnoName === "EROFS")) {
      return open(path, O_RDONLY);
    }
    throw error;
  }
}

/**
 * Opens or makes the file of a block. Throws `MEMORY_BACKEND_OPEN`, `MEMORY_BACKEND_SIZE`, and
 * `MEMORY_BACKEND_TOO_SHORT` for a file that has content but less than the block needs.
 */
export function openFile(id: string, size: bigint, options: BackendOptions & { kind: "file" }): OpenedBackend {
  const { path, share, create = true, offset = 0n } = options;
  let fd: Fd;
  try {
    fd = openNamed(path, share, create);
  } catch (cause) {
    throw new BatonError("MEMORY_BACKEND_OPEN", `memory ${id}: ${(cause as Error).message}`, {
      cause,
      details: { id, path },
    });
  }
  try {
    const pageSize = filePageSize(fd);
    checkSize(id, size, pageSize);
    if (typeof offset !== "bigint" || offset < 0n || offset % BigInt(pageSize) !== 0n) {
      throw new BatonError(
        "MEMORY_BACKEND_ALIGN",
        `memory ${id}: offset ${offset} into ${path} is not a multiple of ${pageSize}`,
        {
          details: { id, offset, pageSize },
        },
      );
    }
    if (fstat(fd).size === 0n && create) ftruncate(fd, offset + size);
    checkLength(id, path, fstat(fd).size, offset, size);
    return { fd, description: { kind: "file", path }, share, offset, pageSize };
  } catch (error) {
    fd.close();
    throw error;
  }
}
