import { BatonError } from "@baton/linux";
import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import type { RateLimitOptions } from "../device/rate-limit.js";
import { BLK_ID_BYTES, BLK_MAX_QUEUE_SIZE, BLK_MAX_QUEUES } from "./config.js";
import { openImageFiles } from "./image/files.js";
import type { Aio } from "./image/ring.js";
import type { BlkDeviceOptions, DetectZeroes, ErrorPolicy } from "./options.js";

/** Options of {@link virtioBlk}. */
export interface VirtioBlkOptions {
  readonly id: string;
  /** A file or block device with the disk's bytes. */
  readonly path: string;
  /**
   * A private file that takes what the guest writes, made where it does not exist: `path` is then only read, and any
   * number of VMs may share it. Not for block devices; goes without `direct`.
   */
  readonly overlay?: string;
  readonly readOnly?: boolean;
  /** Goes past the host's page cache (O_DIRECT). */
  readonly direct?: boolean;
  /**
   * How reads, writes and flushes are carried out: one after the other in the device's thread (`threads`), or by the
   * kernel while that goes on (`io_uring`; not with an overlay). Unless given `io_uring` for a `direct` image, if the
   * kernel has it, and `threads` for others.
   */
  readonly aio?: Aio;
  /** Queues, for a guest with several vCPUs; 1 to 32, 1 unless given. */
  readonly queues?: number;
  /** Descriptors of each queue, a power of two from 4 to 1024; 256 unless given. */
  readonly queueSize?: number;
  /** What the guest reads as the disk's serial number: at most 20 characters; the id unless given. */
  readonly serial?: string;
  /** Whether the guest's discards give space back; they do unless said otherwise. */
  readonly discard?: boolean;
  /** What becomes of a write of nothing but zeroes: `off` unless given. `unmap` gives space back if `discard` does. */
  readonly detectZeroes?: DetectZeroes;
  /** What a failed read leads to: `report` unless given. */
  readonly readError?: ErrorPolicy;
  /** What a failed write leads to: `enospc` unless given. */
  readonly writeError?: ErrorPolicy;
  readonly limits?: RateLimitOptions;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
  /** Lets another VM write the image at the same time; it is locked unless this is said. */
  readonly shared?: boolean;
}

/**
 * A disk on a raw image. Errors: `INVALID_ARGUMENT`; when the machine is made `IMAGE_OPEN`, `IMAGE_LOCKED`,
 * `OVERLAY_FORMAT`, `OVERLAY_BASE`, and `IO_URING_UNAVAILABLE` where `aio` asks for what the kernel does not have.
 */
export function virtioBlk(options: VirtioBlkOptions): VirtioDeviceDescription {
  const { id, queues = 1, queueSize = 256, serial = id.slice(0, BLK_ID_BYTES) } = options;
  if (!Number.isInteger(queues) || queues < 1 || queues > BLK_MAX_QUEUES) {
    throw new BatonError("INVALID_ARGUMENT", `${id}: queues must be 1 to ${BLK_MAX_QUEUES}, not ${queues}`);
  }
  if ((queueSize & (queueSize - 1)) !== 0 || queueSize < 4 || queueSize > BLK_MAX_QUEUE_SIZE) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `${id}: queueSize must be a power of two from 4 to ${BLK_MAX_QUEUE_SIZE}, not ${queueSize}`,
    );
  }
  if (Buffer.byteLength(serial) > BLK_ID_BYTES) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `${id}: the serial number '${serial}' has more than ${BLK_ID_BYTES} bytes`,
    );
  }
  if (options.overlay !== undefined && (options.direct || options.readOnly)) {
    throw new BatonError("INVALID_ARGUMENT", `${id}: an overlay can be neither direct nor read-only`);
  }
  if (options.overlay !== undefined && options.aio === "io_uring") {
    throw new BatonError("INVALID_ARGUMENT", `${id}: io_uring is not for overlays`);
  }
  return {
    kind: "virtio",
    model: "virtio-blk",
    id,
    queues,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createBlkDevice",
    open(openOrFind, { incoming }) {
      const { readOnly = false, direct = false, shared = false } = options;
      const files = { ...options, readOnly, direct, shared };
      const { image, fds, locks } = openImageFiles(files, openOrFind, incoming);
      const device: BlkDeviceOptions = {
        image,
        path: options.path,
        direct,
        readOnly,
        queues,
        queueSize,
        serial,
        discard: options.discard ?? true,
        detectZeroes: options.detectZeroes ?? "off",
        readError: options.readError ?? "report",
        writeError: options.writeError ?? "enospc",
        limits: options.limits ?? {},
      };
      return {
        options: device,
        activate: () => locks.take(),
        inactivate: () => locks.giveUp(),
        close: () => {
          for (const fd of fds) fd.close();
        },
      };
    },
  };
}
