import {
  BatonError,
  EINVAL,
  EOPNOTSUPP,
  errnoMessage,
  errnoName,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  fallocate,
  fdatasync,
  fstat,
  ftruncate,
  type IoVector,
  ioctl,
  memset,
  S_IFBLK,
  S_IFMT,
  tryPreadv,
  tryPwritev,
  writeAll,
} from "@baton/linux";
import { BLKDISCARD, BLKGETSIZE64, BLKPBSZGET, BLKSSZGET, BLKZEROOUT } from "../../abi/block.js";
import type { BlockImage } from "./image.js";
import type { Aio } from "./ring.js";
import { moveAll, type VectoredCall } from "./vectored.js";

const SECTOR = 512;
/** What is written at once where zeroes must be written by hand. */
const ZEROES_CHUNK = 1 << 20;

/** What a raw image is opened with. */
export interface RawImageOptions {
  readonly fd: number;
  /** The same file without O_DIRECT, for requests that do not meet its rules; -1 where `fd` has none. */
  readonly bufferedFd: number;
  /** How reads and writes are carried out; `prefer-io_uring` where the kernel has it. `threads` unless given. */
  readonly aio?: Aio | "prefer-io_uring";
}

/** A file or block device whose bytes are the disk's. */
export class RawImage implements BlockImage {
  readonly logicalBlockSize: number;
  readonly physicalBlockSize: number;
  readonly #fd: number;
  readonly #bufferedFd: number;
  readonly #isDevice: boolean;
  #size: number;
  #zeroes: Uint8Array | undefined;

  constructor({ fd, bufferedFd }: RawImageOptions) {
    this.#fd = fd;
    this.#bufferedFd = bufferedFd;
    const { mode, blockSize } = fstat(fd);
    this.#isDevice = (mode & S_IFMT) === S_IFBLK;
    this.logicalBlockSize = this.#isDevice ? ioctlInt(fd, BLKSSZGET, "BLKSSZGET") : SECTOR;
    this.physicalBlockSize = this.#isDevice ? ioctlInt(fd, BLKPBSZGET, "BLKPBSZGET") : clampBlock(blockSize);
    this.#size = this.#measure();
  }

  get size(): number {
    return this.#size;
  }

  read(vector: IoVector, offset: number): number {
    return this.#move(tryPreadv, vector, offset, zeroRest);
  }

  write(vector: IoVector, offset: number): number {
    return this.#move(tryPwritev, vector, offset);
  }

  #move(call: VectoredCall, vector: IoVector, offset: number, atEnd?: (vector: IoVector) => number): number {
    const end = offset + vector.byteLength;
    const result = moveAll(call, this.#fd, vector, offset, atEnd);
    if (result !== -EINVAL || this.#bufferedFd < 0) return result;
    // A part of it may have been moved before.
    return moveAll(call, this.#bufferedFd, vector, end - vector.byteLength, atEnd);
  }

  flush(): number {
    return attempt(() => fdatasync(this.#fd));
  }

  discard(offset: number, length: number): number {
    const result = attempt(() => {
      if (this.#isDevice) this.#rangeIoctl(BLKDISCARD, "BLKDISCARD", offset, length);
      else fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    });
    // A hint: where it cannot be followed, nothing is lost.
    return result === -EOPNOTSUPP ? 0 : result;
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const result = attempt(() => {
      if (this.#isDevice) this.#rangeIoctl(BLKZEROOUT, "BLKZEROOUT", offset, length);
      else {
        const how = mayUnmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
        fallocate(this.#fd, how | FALLOC_FL_KEEP_SIZE, offset, length);
      }
    });
    return result === -EOPNOTSUPP ? this.#writeZeroesByHand(offset, length) : result;
  }

  resize(size?: number): number {
    const measured = this.#measure();
    if (size === undefined || this.#isDevice) {
      if (size !== undefined && size > measured) {
        throw new BatonError("BLOCK_RESIZE", `the block device has ${measured} bytes, not ${size}`, {
          hint: "A block device must be grown first, with its own tools",
        });
      }
      // As QEMU does: what was asked for is what there must be at least, and the guest gets all there is.
      this.#size = measured;
    } else {
      setFileSize(this.#fd, size, size);
      this.#size = size;
    }
    return this.#size;
  }

  save(): unknown {
    return {};
  }

  load(): void {
    this.#size = this.#measure();
  }

  #measure(): number {
    const size = this.#isDevice ? ioctlU64(this.#fd, BLKGETSIZE64, "BLKGETSIZE64") : fstat(this.#fd).size;
    return Math.floor(Number(size) / SECTOR) * SECTOR;
  }

  #rangeIoctl(request: number, name: string, offset: number, length: number): void {
    const range = BigUint64Array.of(BigInt(offset), BigInt(length));
    ioctl(this.#fd, request, new Uint8Array(range.buffer), name);
  }

  #writeZeroesByHand(offset: number, length: number): number {
    this.#zeroes ??= new Uint8Array(ZEROES_CHUNK);
    for (let done = 0; done < length; ) {
      const step = Math.min(ZEROES_CHUNK, length - done);
      const fd = this.#bufferedFd < 0 ? this.#fd : this.#bufferedFd;
      const bytes = this.#zeroes.subarray(0, step);
      const result = attempt(() => writeAll(fd, bytes, offset + done));
      if (result < 0) return result;
      done += step;
    }
    return 0;
  }
}

/** Runs a call that throws on failure; 0, or the negative error number. */
export function attempt(call: () => void): number {
  try {
    call();
    return 0;
  } catch (error) {
    const errno = BatonError.is(error) ? error.errno : undefined;
    if (errno === undefined) throw error;
    return -errno;
  }
}

/** What lies behind the end of a file reads as zeroes: an image may be shorter than its last sector. */
export function zeroRest({ words, count }: IoVector): number {
  for (let i = 0; i < count; i++) memset(words[i * 2] as bigint, 0, words[i * 2 + 1] as bigint);
  return 0;
}

/** Makes a file so long, for a disk of `size` bytes. Throws `BLOCK_RESIZE`. */
export function setFileSize(fd: number, length: number, size: number): void {
  const result = attempt(() => ftruncate(fd, length));
  if (result === 0) return;
  const why = `${errnoMessage(-result)} (${errnoName(-result)})`;
  throw new BatonError("BLOCK_RESIZE", `the image's file cannot hold ${size} bytes: ${why}`, {
    errno: -result,
    errnoName: errnoName(-result),
  });
}

function clampBlock(size: number): number {
  return size >= SECTOR && size <= 1 << 16 && (size & (size - 1)) === 0 ? size : 4096;
}

function ioctlInt(fd: number, request: number, name: string): number {
  const out = new Int32Array(1);
  ioctl(fd, request, new Uint8Array(out.buffer), name);
  return out[0] as number;
}

function ioctlU64(fd: number, request: number, name: string): bigint {
  const out = new BigUint64Array(1);
  ioctl(fd, request, new Uint8Array(out.buffer), name);
  return out[0] as bigint;
}
