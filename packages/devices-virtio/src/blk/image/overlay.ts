import {
  BatonError,
  errnoMessage,
  errnoName,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
  fdatasync,
  ftruncate,
  IoVector,
  pread,
  tryPreadv,
  tryPwritev,
  writeAll,
} from "@baton/linux";
import { StateReader } from "../../device/state.js";
import type { BlockImage } from "./image.js";
import {
  OVERLAY_BITMAP,
  OVERLAY_CLUSTER,
  OVERLAY_DATA,
  OVERLAY_MAX_SIZE,
  type OverlayHeader,
  readOverlayHeader,
  writeOverlayHeader,
} from "./overlay-format.js";
import { attempt, setFileSize, zeroRest } from "./raw.js";
import { moveAll, splitOff } from "./vectored.js";

/** What an overlay is opened with. */
export interface OverlayOptions {
  readonly fd: number;
  readonly path: string;
  /** The base, for reading. */
  readonly baseFd: number;
}

/** What an overlay saves: blocks of its bitmap that are not in its file yet. */
export interface OverlayState {
  readonly bitmap: readonly { readonly block: number; readonly bits: Uint8Array }[];
}

/** Bytes of the bitmap that are written at once. */
const BITMAP_BLOCK = 4096;

/**
 * A private, sparse file over a base that is only read: what has been written comes from the one, the rest from the
 * other. Data is made durable before the bits that make it count, so that a crash leaves each cluster old or new.
 */
export class OverlayImage implements BlockImage {
  readonly logicalBlockSize = 512;
  readonly physicalBlockSize = 4096;
  readonly #fd: number;
  readonly #baseFd: number;
  readonly #path: string;
  #header: OverlayHeader;
  #bitmap: Uint8Array;
  readonly #dirty = new Set<number>();
  readonly #part = new IoVector();
  readonly #cluster = new Uint8Array(OVERLAY_CLUSTER);

  constructor({ fd, path, baseFd }: OverlayOptions) {
    this.#fd = fd;
    this.#baseFd = baseFd;
    this.#path = path;
    this.#header = readOverlayHeader(fd, path);
    this.#bitmap = readBitmap(fd, this.#header.size);
  }

  get size(): number {
    return this.#header.size;
  }

  read(vector: IoVector, offset: number): number {
    for (let at = offset; vector.byteLength > 0; ) {
      const own = this.#has(Math.floor(at / OVERLAY_CLUSTER));
      const length = this.#run(at, vector.byteLength, own);
      splitOff(vector, this.#part, length);
      const result = own
        ? moveAll(tryPreadv, this.#fd, this.#part, OVERLAY_DATA + at, zeroRest)
        : moveAll(tryPreadv, this.#baseFd, this.#part, at, zeroRest);
      if (result < 0) return result;
      at += length;
    }
    return 0;
  }

  write(vector: IoVector, offset: number): number {
    const end = offset + vector.byteLength;
    const result = this.#copyEdges(offset, end);
    if (result < 0) return result;
    const written = moveAll(tryPwritev, this.#fd, vector, OVERLAY_DATA + offset);
    if (written === 0) this.#setRange(offset, end);
    return written;
  }

  flush(): number {
    return attempt(() => {
      fdatasync(this.#fd);
      if (this.#dirty.size === 0) return;
      for (const block of this.#dirty) {
        writeAll(this.#fd, this.#block(block), OVERLAY_BITMAP + block * BITMAP_BLOCK);
      }
      fdatasync(this.#fd);
      this.#dirty.clear();
    });
  }

  discard(offset: number, length: number): number {
    // Only what the overlay has itself can be given back; it reads as zeroes then.
    const first = Math.ceil(offset / OVERLAY_CLUSTER);
    const last = Math.floor((offset + length) / OVERLAY_CLUSTER);
    for (let cluster = first; cluster < last; cluster++) {
      if (!this.#has(cluster)) continue;
      const result = this.#punch(cluster * OVERLAY_CLUSTER, OVERLAY_CLUSTER);
      if (result < 0) return result;
    }
    return 0;
  }

  writeZeroes(offset: number, length: number): number {
    const end = offset + length;
    let result = this.#copyEdges(offset, end);
    if (result === 0) result = this.#punch(offset, length);
    if (result === 0) this.#setRange(offset, end);
    return result;
  }

  resize(size = this.size): number {
    if (size === this.size) return size;
    const { baseSize } = this.#header;
    // What lies beyond it would be the base's again when the disk grows later.
    if (size < baseSize) {
      throw new BatonError(
        "BLOCK_RESIZE",
        `the base of the overlay has ${baseSize} bytes, its disk cannot have ${size}`,
      );
    }
    if (size > OVERLAY_MAX_SIZE) {
      throw new BatonError("BLOCK_RESIZE", `an overlay has at most ${OVERLAY_MAX_SIZE} bytes, not ${size}`);
    }
    const flushed = this.flush();
    if (flushed < 0) {
      const why = `${errnoMessage(-flushed)} (${errnoName(-flushed)})`;
      throw new BatonError("BLOCK_RESIZE", `what was written before cannot be made durable: ${why}`);
    }
    const grows = size > this.size;
    if (grows) setFileSize(this.#fd, OVERLAY_DATA + size, size);
    const header = { ...this.#header, size };
    writeOverlayHeader(this.#fd, header);
    this.#header = header;
    // A file that stays too long does no harm.
    if (!grows) attempt(() => ftruncate(this.#fd, OVERLAY_DATA + size));
    const bitmap = new Uint8Array(bitmapBytes(size));
    bitmap.set(this.#bitmap.subarray(0, bitmap.length));
    this.#bitmap = bitmap;
    return size;
  }

  save(): OverlayState {
    const blocks = [...this.#dirty].sort((a, b) => a - b);
    return { bitmap: blocks.map((block) => ({ block, bits: this.#block(block).slice() })) };
  }

  load(id: string, state: unknown): void {
    const header = readOverlayHeader(this.#fd, this.#path);
    const bitmap = readBitmap(this.#fd, header.size);
    const most = Math.ceil(bitmap.length / BITMAP_BLOCK);
    const blocks = new StateReader(id, state, "device/image").list("bitmap", most, (element, path) => {
      const reader = new StateReader(id, element, path);
      return { block: reader.integer("block", 0, most - 1), bits: reader.bytes("bits", BITMAP_BLOCK) };
    });
    this.#header = header;
    this.#bitmap = bitmap;
    this.#dirty.clear();
    // Bits only become set: those in the file count as well.
    for (const { block, bits } of blocks) {
      const into = this.#block(block);
      for (let i = 0; i < Math.min(bits.length, into.length); i++) into[i] = (into[i] as number) | (bits[i] as number);
      this.#dirty.add(block);
    }
  }

  /** A part of the bitmap that is written at once. */
  #block(block: number): Uint8Array {
    return this.#bitmap.subarray(block * BITMAP_BLOCK, (block + 1) * BITMAP_BLOCK);
  }

  #has(cluster: number): boolean {
    return ((this.#bitmap[cluster >>> 3] as number) & (1 << (cluster & 7))) !== 0;
  }

  /** Bytes from `at` on, at most `limit`, that come from the same file. */
  #run(at: number, limit: number, own: boolean): number {
    const end = at + limit;
    let cluster = Math.floor(at / OVERLAY_CLUSTER) + 1;
    while (cluster * OVERLAY_CLUSTER < end && this.#has(cluster) === own) cluster++;
    return Math.min(end, cluster * OVERLAY_CLUSTER) - at;
  }

  /** Copies from the base what a write covers only in part: its first and last cluster. */
  #copyEdges(offset: number, end: number): number {
    const first = Math.floor(offset / OVERLAY_CLUSTER);
    const last = Math.floor((end - 1) / OVERLAY_CLUSTER);
    const edges = first === last ? [first] : [first, last];
    for (const cluster of edges) {
      const start = cluster * OVERLAY_CLUSTER;
      const whole = offset <= start && end >= Math.min(start + OVERLAY_CLUSTER, this.size);
      if (whole || this.#has(cluster)) continue;
      const result = attempt(() => {
        this.#cluster.fill(0);
        pread(this.#baseFd, this.#cluster, start);
        writeAll(this.#fd, this.#cluster, OVERLAY_DATA + start);
      });
      if (result < 0) return result;
    }
    return 0;
  }

  #punch(offset: number, length: number): number {
    return attempt(() => {
      fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, OVERLAY_DATA + offset, length);
    });
  }

  #setRange(offset: number, end: number): void {
    for (let cluster = Math.floor(offset / OVERLAY_CLUSTER); cluster * OVERLAY_CLUSTER < end; cluster++) {
      if (this.#has(cluster)) continue;
      const byte = cluster >>> 3;
      this.#bitmap[byte] = (this.#bitmap[byte] as number) | (1 << (cluster & 7));
      this.#dirty.add(Math.floor(byte / BITMAP_BLOCK));
    }
  }
}

function readBitmap(fd: number, size: number): Uint8Array {
  const bitmap = new Uint8Array(bitmapBytes(size));
  pread(fd, bitmap, OVERLAY_BITMAP);
  return bitmap;
}

function bitmapBytes(size: number): number {
  return Math.ceil(size / OVERLAY_CLUSTER / 8);
}
