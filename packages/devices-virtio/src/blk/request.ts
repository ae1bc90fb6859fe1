/** Kinds of requests (virtio 1.2, 5.2.6). */
export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

/** Answers to them. */
export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

/** Bytes before the data: type, reserved, sector. */
export const HEADER_BYTES = 16;
/** Bytes of a discard or write-zeroes segment: sector, number of sectors, flags. */
export const RANGE_BYTES = 16;
/** Flag of a segment: its space may be given back. */
export const RANGE_F_UNMAP = 1;

/** What requests are counted and reported as. */
export type BlkOperation = "read" | "write" | "flush" | "discard" | "write-zeroes";

/** A range of sectors to discard or to fill with zeroes, in bytes. */
export interface BlkRange {
  readonly offset: number;
  readonly length: number;
  readonly unmap: boolean;
}

/** Takes the segments of a discard or write-zeroes request apart; null where one is not whole or too large. */
export function parseRanges(bytes: Uint8Array, maxRanges: number, maxSectors: number): BlkRange[] | null {
  const count = bytes.length / RANGE_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > maxRanges) return null;
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ranges: BlkRange[] = [];
  for (let at = 0; at < bytes.length; at += RANGE_BYTES) {
    const sector = data.getBigUint64(at, true);
    const sectors = data.getUint32(at + 8, true);
    const flags = data.getUint32(at + 12, true);
    if (sectors > maxSectors || sector >> 44n !== 0n || (flags & ~RANGE_F_UNMAP) !== 0) return null;
    ranges.push({ offset: Number(sector) * 512, length: sectors * 512, unmap: (flags & RANGE_F_UNMAP) !== 0 });
  }
  return ranges;
}
