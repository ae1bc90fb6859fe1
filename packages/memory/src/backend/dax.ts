import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BatonError, type Fd, fstat, O_RDWR, open, S_IFCHR, S_IFMT } from "@baton/linux";
import { type BackendOptions, checkLength, checkSize, type OpenedBackend } from "./backend.js";

/** Size and alignment of a device DAX, in bytes, from its directory in sysfs (Documentation/ABI/testing/sysfs-bus-dax). */
export function readDaxGeometry(directory: string): { readonly size: bigint; readonly align: number } {
  const read = (name: string) => BigInt(readFileSync(join(directory, name), "utf8").trim());
  return { size: read("size"), align: Number(read("align")) };
}

/** The sysfs directory of a character device. */
function sysfsOf(rdev: bigint): string {
  // makedev(3): 12 bits of major above 8 bits of minor, and the rest above both.
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn);
  return `/sys/dev/char/${major}:${minor}`;
}

/**
 * Opens a device DAX. Throws `MEMORY_BACKEND_OPEN`, `MEMORY_BACKEND_NOT_DAX`, and `MEMORY_BACKEND_SIZE` or
 * `MEMORY_BACKEND_TOO_SHORT` where the block does not fit the device's alignment or size.
 */
export function openDax(id: string, size: bigint, options: BackendOptions & { kind: "dax" }): OpenedBackend {
  const { path } = options;
  let fd: Fd;
  try {
    fd = open(path, O_RDWR);
  } catch (cause) {
    throw new BatonError("MEMORY_BACKEND_OPEN", `memory ${id}: ${(cause as Error).message}`, {
      cause,
      details: { id, path },
    });
  }
  try {
    const { mode, rdev } = fstat(fd);
    if ((mode & S_IFMT) !== S_IFCHR) throw notDax(id, path);
    let geometry: { size: bigint; align: number };
    try {
      geometry = readDaxGeometry(sysfsOf(rdev));
    } catch (cause) {
      throw notDax(id, path, cause);
    }
    checkSize(id, size, geometry.align);
    checkLength(id, path, geometry.size, 0n, size);
    return { fd, description: { kind: "dax", path }, share: true, offset: 0n, pageSize: geometry.align };
  } catch (error) {
    fd.close();
    throw error;
  }
}

function notDax(id: string, path: string, cause?: unknown): BatonError {
  return new BatonError("MEMORY_BACKEND_NOT_DAX", `memory ${id}: ${path} is not a device DAX`, {
    hint: "an fsdax file is a file backend",
    cause,
    details: { id, path },
  });
}
