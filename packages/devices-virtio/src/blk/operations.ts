import { EINVAL, IoVector } from "@baton/linux";
import type { Chain } from "../queue/chain.js";
import { BLK_ID_BYTES, BLK_MAX_RANGE_SECTORS, BLK_MAX_RANGES, SECTOR } from "./config.js";
import type { BlockImage } from "./image/image.js";
import type { BlkDeviceOptions } from "./options.js";
import {
  type BlkOperation,
  type BlkRange,
  HEADER_BYTES,
  parseRanges,
  RANGE_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
} from "./request.js";
import { BlkStatistics } from "./statistics.js";
import type { TransferRun } from "./transfer-run.js";

/** What became of a request: an error number of the host, or a status of its own. */
export type Outcome = { readonly errno: number } | { readonly status: number };

const DONE: Outcome = { status: VIRTIO_BLK_S_OK };
export const REFUSED: Outcome = { status: VIRTIO_BLK_S_IOERR };
export const UNSUPPORTED: Outcome = { status: VIRTIO_BLK_S_UNSUPP };

/** What a disk's requests do with its image, one after the other, and counted. */
export class BlkOperations {
  readonly statistics = new BlkStatistics();
  readonly image: BlockImage;
  /** Bytes that the guest may use. */
  capacity: number;
  /** Whether writes may stay in the host's cache until a flush. */
  writeback = false;
  readonly #options: BlkDeviceOptions;
  readonly #vector = new IoVector();

  constructor(image: BlockImage, options: BlkDeviceOptions) {
    this.image = image;
    this.capacity = image.size;
    this.#options = options;
  }

  inRange(sector: number, length: number): boolean {
    return length % SECTOR === 0 && sector * SECTOR + length <= this.capacity;
  }

  /** Moves a run at once; false if that did not succeed. */
  moveRun({ operation, vector, offset, transfers }: TransferRun): boolean {
    const started = performance.now();
    const result =
      operation === "read" ? this.image.read(vector, offset) : this.#settle(this.image.write(vector, offset));
    if (result < 0) return false;
    this.statistics.countRun(operation, transfers, (performance.now() - started) * 1e6);
    return true;
  }

  /** Moves one request. */
  move(chain: Chain, operation: "read" | "write", offset: number, length: number): Outcome {
    return this.#count(operation, length, () => {
      const result = this.#move(chain, operation === "read", offset, length);
      return operation === "read" ? result : this.#settle(result);
    });
  }

  /** Whether a write is of zeroes, and to be carried out as such. One of more pieces than a call takes is not. */
  isZero(chain: Chain, length: number): boolean {
    if (this.#options.detectZeroes === "off" || length === 0) return false;
    this.#vector.clear();
    return chain.gatherReadable(this.#vector, HEADER_BYTES, length) === length && this.#vector.isZero();
  }

  /** Carries out a write of zeroes. */
  writeZeroes(offset: number, length: number): Outcome {
    const unmap = this.#options.detectZeroes === "unmap" && this.#options.discard;
    return this.#count("write", length, () => this.#settle(this.image.writeZeroes(offset, length, unmap)));
  }

  flush(): Outcome {
    return this.#count("flush", 0, () => this.#flush());
  }

  /** Tells the serial number, in what the driver must give for it (virtio 1.2, 5.2.6). */
  identify(chain: Chain): Outcome {
    if (chain.writableLength - 1 < BLK_ID_BYTES) return REFUSED;
    const id = new Uint8Array(BLK_ID_BYTES);
    id.set(Buffer.from(this.#options.serial, "latin1").subarray(0, BLK_ID_BYTES));
    chain.write(id);
    return DONE;
  }

  /** The ranges of a discard or write-zeroes request, or why it is not carried out. */
  ranges(chain: Chain, discard: boolean): readonly BlkRange[] | Outcome {
    if (this.#options.readOnly) return REFUSED;
    const bytes = new Uint8Array(Math.min(chain.readableLength - HEADER_BYTES, (BLK_MAX_RANGES + 1) * RANGE_BYTES));
    chain.read(bytes, HEADER_BYTES);
    const ranges = parseRanges(bytes, BLK_MAX_RANGES, BLK_MAX_RANGE_SECTORS);
    if (ranges === null || chain.writableLength !== 1) return UNSUPPORTED;
    if (discard && ranges.some((range) => range.unmap)) return UNSUPPORTED;
    if (ranges.some(({ offset, length }) => !this.inRange(offset / SECTOR, length))) return REFUSED;
    return ranges;
  }

  /** Discards ranges, or fills them with zeroes. */
  clear(ranges: readonly BlkRange[], discard: boolean): Outcome {
    const total = ranges.reduce((sum, { length }) => sum + length, 0);
    return this.#count(discard ? "discard" : "write-zeroes", total, () => {
      for (const { offset, length, unmap } of ranges) {
        if (length === 0 || (discard && !this.#options.discard)) continue;
        const result = discard
          ? this.image.discard(offset, length)
          : this.image.writeZeroes(offset, length, unmap && this.#options.discard);
        if (result < 0) return result;
      }
      return this.#settle(0);
    });
  }

  /** The result of a write, which without a write cache is durable before it is answered. */
  #settle(result: number): number {
    return result < 0 || this.writeback ? result : this.#flush();
  }

  #flush(): number {
    return this.#options.readOnly ? 0 : this.image.flush();
  }

  /** Moves a chain's data; 0 or an error. More pieces than one call takes go in several. */
  #move(chain: Chain, reads: boolean, offset: number, length: number): number {
    const vector = this.#vector;
    const from = reads ? 0 : HEADER_BYTES;
    for (let done = 0; done < length; ) {
      vector.clear();
      const left = length - done;
      let step = reads
        ? chain.gatherWritable(vector, from + done, left)
        : chain.gatherReadable(vector, from + done, left);
      if (step < left) {
        step = Math.floor(step / SECTOR) * SECTOR;
        vector.clear();
        if (reads) chain.gatherWritable(vector, from + done, step);
        else chain.gatherReadable(vector, from + done, step);
        if (step === 0) return -EINVAL;
      }
      const at = offset + done;
      const result = reads ? this.image.read(vector, at) : this.image.write(vector, at);
      if (result < 0) return result;
      done += step;
    }
    return 0;
  }

  #count(operation: BlkOperation, bytes: number, work: () => number): Outcome {
    const started = performance.now();
    const result = work();
    this.statistics.count(operation, bytes, result >= 0, (performance.now() - started) * 1e6);
    return result < 0 ? { errno: -result } : DONE;
  }
}
