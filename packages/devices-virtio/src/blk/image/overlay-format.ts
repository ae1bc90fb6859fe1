import { crc32 } from "node:zlib";
import { BatonError, type FdLike, fstat, ftruncate, pread, writeAll } from "@baton/linux";

/**
 * The file of an overlay, all numbers little-endian:
 *
 * | offset | |
 * | --- | --- |
 * | 0 | `BATONOVL` |
 * | 8 | u32 version, 1 |
 * | 12 | u32 bytes of a cluster, 65536 |
 * | 16 | u64 size of the disk in bytes |
 * | 24 | u64 size of the base in bytes |
 * | 32 | u64 the base's time of change, ns since 1970 |
 * | 40 | u64 where the bitmap begins, 4096 |
 * | 48 | u64 where the clusters begin |
 * | 56 | u32 CRC-32 of the 56 bytes before |
 *
 * The bitmap has a bit for each cluster of the disk, low bits first: set where the overlay's cluster counts, which
 * stands at the same distance from the first one as on the disk. Both are sparse. The bitmap has no checksum: its bits
 * only become set, so that a block of it that a crash has torn is as good as the one before or after.
 */
export const OVERLAY_CLUSTER = 1 << 16;
/** Where the bitmap begins. */
export const OVERLAY_BITMAP = 4096;
/** Bytes of the bitmap: enough for the largest disk. */
const BITMAP_BYTES = 32 << 20;
/** Where the clusters begin. */
export const OVERLAY_DATA = OVERLAY_CLUSTER + BITMAP_BYTES;
/** The largest disk on an overlay, in bytes: 16 TiB. */
export const OVERLAY_MAX_SIZE = BITMAP_BYTES * 8 * OVERLAY_CLUSTER;

const MAGIC = "BATONOVL";
const VERSION = 1;
const HEADER_BYTES = 60;

/** What the header says. */
export interface OverlayHeader {
  /** Of the disk, bytes. */
  readonly size: number;
  readonly baseSize: number;
  /** ns since 1970. */
  readonly baseChanged: bigint;
}

/** Writes a header; the rest of the file stays as it is. */
export function writeOverlayHeader(fd: FdLike, header: OverlayHeader): void {
  const bytes = new Uint8Array(HEADER_BYTES);
  const data = new DataView(bytes.buffer);
  bytes.set(Buffer.from(MAGIC));
  data.setUint32(8, VERSION, true);
  data.setUint32(12, OVERLAY_CLUSTER, true);
  data.setBigUint64(16, BigInt(header.size), true);
  data.setBigUint64(24, BigInt(header.baseSize), true);
  data.setBigUint64(32, header.baseChanged, true);
  data.setBigUint64(40, BigInt(OVERLAY_BITMAP), true);
  data.setBigUint64(48, BigInt(OVERLAY_DATA), true);
  data.setUint32(56, crc32(bytes.subarray(0, 56)), true);
  if (fstat(fd).size < BigInt(OVERLAY_DATA)) ftruncate(fd, OVERLAY_DATA);
  writeAll(fd, bytes, 0);
}

/** Reads and checks a header. Throws `OVERLAY_FORMAT`, naming `path` and what is wrong. */
export function readOverlayHeader(fd: FdLike, path: string): OverlayHeader {
  const fail = (problem: string): never => {
    throw new BatonError("OVERLAY_FORMAT", `${path} is no overlay that can be used: ${problem}`, { details: { path } });
  };
  const bytes = new Uint8Array(HEADER_BYTES);
  if (pread(fd, bytes, 0) !== HEADER_BYTES) fail("it is shorter than its header");
  const data = new DataView(bytes.buffer);
  if (Buffer.from(bytes.subarray(0, 8)).toString("latin1") !== MAGIC) fail(`it does not begin with ${MAGIC}`);
  const version = data.getUint32(8, true);
  if (version !== VERSION) fail(`its version is ${version}, not ${VERSION}`);
  if (data.getUint32(56, true) !== crc32(bytes.subarray(0, 56))) fail("the checksum of its header is wrong");
  const size = data.getBigUint64(16, true);
  const places = [data.getUint32(12, true), data.getBigUint64(40, true), data.getBigUint64(48, true)];
  const expected = [OVERLAY_CLUSTER, BigInt(OVERLAY_BITMAP), BigInt(OVERLAY_DATA)];
  if (places.some((place, i) => place !== expected[i])) fail("its parts stand elsewhere than in this version");
  if (size > BigInt(OVERLAY_MAX_SIZE) || size % 512n !== 0n) fail(`a disk of ${size} bytes`);
  return {
    size: Number(size),
    baseSize: Number(data.getBigUint64(24, true)),
    baseChanged: data.getBigUint64(32, true),
  };
}
