/** Bytes of a sector: the unit of all positions in requests (virtio 1.2, 5.2.4). */
export const SECTOR = 512;
/** The most queues (requests of each vCPU on its own). */
export const BLK_MAX_QUEUES = 32;
export const BLK_MAX_QUEUE_SIZE = 1024;
/** The longest serial number in bytes (virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID). */
export const BLK_ID_BYTES = 20;
/** The most sectors of one discard or write-zeroes segment, and the most segments. */
export const BLK_MAX_RANGE_SECTORS = 1 << 22;
export const BLK_MAX_RANGES = 16;
/** The most pieces of a request's data: what one vectored call takes, without header and status. */
const SEG_MAX = 254;

/** Feature bits of a block device (virtio 1.2, 5.2.3). */
export const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
export const VIRTIO_BLK_F_BLK_SIZE = 6;
export const VIRTIO_BLK_F_FLUSH = 9;
export const VIRTIO_BLK_F_TOPOLOGY = 10;
export const VIRTIO_BLK_F_CONFIG_WCE = 11;
export const VIRTIO_BLK_F_MQ = 12;
export const VIRTIO_BLK_F_DISCARD = 13;
export const VIRTIO_BLK_F_WRITE_ZEROES = 14;

/** Where the driver finds and sets the write cache (virtio 1.2, 5.2.4). */
export const CONFIG_WRITEBACK = 32;
const CONFIG_BYTES = 60;

/** What the driver is told of the disk. */
export interface BlkGeometry {
  /** Bytes. */
  readonly size: number;
  readonly logicalBlockSize: number;
  readonly physicalBlockSize: number;
  readonly queues: number;
  readonly queueSize: number;
}

/** The configuration space of a block device (virtio 1.2, 5.2.4). */
export function blkConfig(geometry: BlkGeometry): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  const data = new DataView(bytes.buffer);
  setCapacity(bytes, geometry.size);
  data.setUint32(12, Math.min(SEG_MAX, geometry.queueSize - 2), true);
  data.setUint32(20, geometry.logicalBlockSize, true);
  bytes[24] = Math.max(0, Math.round(Math.log2(geometry.physicalBlockSize / geometry.logicalBlockSize)));
  data.setUint16(26, Math.max(1, geometry.physicalBlockSize / geometry.logicalBlockSize), true);
  bytes[CONFIG_WRITEBACK] = 1;
  data.setUint16(34, geometry.queues, true);
  data.setUint32(36, BLK_MAX_RANGE_SECTORS, true);
  data.setUint32(40, BLK_MAX_RANGES, true);
  data.setUint32(44, geometry.physicalBlockSize / SECTOR, true);
  data.setUint32(48, BLK_MAX_RANGE_SECTORS, true);
  data.setUint32(52, BLK_MAX_RANGES, true);
  bytes[56] = 1;
  return bytes;
}

/** Writes the capacity of `size` bytes into a configuration space. */
export function setCapacity(config: Uint8Array, size: number): void {
  new DataView(config.buffer, config.byteOffset).setBigUint64(0, BigInt(size / SECTOR), true);
}
