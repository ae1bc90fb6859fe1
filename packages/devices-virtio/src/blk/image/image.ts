import type { IoVector } from "@baton/linux";

/**
 * What a disk's data lives in. All calls are synchronous; a negative result is an error number. Offsets and lengths are
 * bytes, whole sectors, and within `size`: the device has checked them.
 */
export interface BlockImage {
  /** Bytes that the guest may use, whole sectors. */
  readonly size: number;
  /** The unit that the image is best written in, in bytes. */
  readonly physicalBlockSize: number;
  /** The smallest unit that it can be read and written in, in bytes. */
  readonly logicalBlockSize: number;
  /** Fills the pieces, using them up; returns 0 or an error. */
  read(vector: IoVector, offset: number): number;
  /** Writes the pieces, using them up; returns 0 or an error. */
  write(vector: IoVector, offset: number): number;
  /** Makes durable what has been written. */
  flush(): number;
  /** Tells that a range is not needed any more; it then reads as anything. */
  discard(offset: number, length: number): number;
  /** Makes a range read as zeroes; `mayUnmap` allows to give its space back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  /**
   * Looks how large the image is now, or makes it so large; the new size in bytes. Throws `BLOCK_RESIZE`, and has then
   * changed nothing.
   */
  resize(size?: number): number;
  /** What its files do not say: plain data. */
  save(): unknown;
  /**
   * Looks at its files anew, which another image has written meanwhile, and takes what that has saved; writes nothing.
   * Throws `DEVICE_STATE` with the disk's id.
   */
  load(id: string, state: unknown): void;
}
