import {
  BatonError,
  type Fd,
  fstat,
  O_CLOEXEC,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  open,
  S_IFBLK,
  S_IFMT,
  S_IFREG,
  setOfdLock,
} from "@baton/linux";
import type { OpenOrFind, VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import type { RateLimitOptions } from "../device/rate-limit.js";
import { BLK_ID_BYTES, BLK_MAX_QUEUE_SIZE, BLK_MAX_QUEUES } from "./config.js";
import type { BlkDeviceOptions, ErrorPolicy } from "./device.js";
import type { ImageOptions } from "./image/open.js";

/** Options of {@link virtioBlk}. */
export interface VirtioBlkOptions {
  readonly id: string;
  /** A file or block device with the disk's bytes. */
  readonly path: string;
  readonly readOnly?: boolean;
  /** Goes past the host's page cache (O_DIRECT). */
  readonly direct?: boolean;
  /** Queues, for a guest with several vCPUs; 1 to 32, 1 unless given. */
  readonly queues?: number;
  /** Descriptors of each queue, a power of two from 4 to 1024; 256 unless given. */
  readonly queueSize?: number;
  /** What the guest reads as the disk's serial number: at most 20 characters; the id unless given. */
  readonly serial?: string;
  /** Whether the guest's discards give space back; they do unless said otherwise. */
  readonly discard?: boolean;
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

/** A disk on a raw image. Errors when the machine is made: `IMAGE_OPEN`, `IMAGE_LOCKED`, `INVALID_ARGUMENT`. */
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
  return {
    kind: "virtio",
    model: "virtio-blk",
    id,
    queues,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createBlkDevice",
    open(openOrFind) {
      const { image, fds } = openRawImage(options, openOrFind);
      const device: BlkDeviceOptions = {
        image,
        path: options.path,
        direct: options.direct ?? false,
        readOnly: options.readOnly ?? false,
        queues,
        queueSize,
        serial,
        discard: options.discard ?? true,
        readError: options.readError ?? "report",
        writeError: options.writeError ?? "enospc",
        limits: options.limits ?? {},
      };
      return {
        options: device,
        close: () => {
          for (const fd of fds) fd.close();
        },
      };
    },
  };
}

function openRawImage(options: VirtioBlkOptions, openOrFind: OpenOrFind): { image: ImageOptions; fds: Fd[] } {
  const { id, path, direct = false } = options;
  const access = (options.readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  const fds: Fd[] = [];
  try {
    const fd = openOrFind("image", id, () => openImageFile(options, access | (direct ? O_DIRECT : 0)));
    fds.push(fd);
    const type = fstat(fd).mode & S_IFMT;
    if (type !== S_IFREG && type !== S_IFBLK) {
      throw new BatonError("IMAGE_OPEN", `${id}: ${path} is neither a file nor a block device`);
    }
    let bufferedFd = -1;
    if (direct) {
      const buffered = openOrFind("image-buffered", id, () => openImageFile({ ...options, shared: true }, access));
      fds.push(buffered);
      bufferedFd = buffered.raw;
    }
    return { image: { kind: "raw", fd: fd.raw, bufferedFd }, fds };
  } catch (error) {
    for (const fd of fds) fd.close();
    throw error;
  }
}

/** Opens and locks an image file: shared for reading, exclusive for writing. The lock lives as long as the open file. */
export function openImageFile(options: VirtioBlkOptions, flags: number): Fd {
  const { id, path, readOnly = false, shared = false } = options;
  let fd: Fd;
  try {
    fd = open(path, flags);
  } catch (error) {
    const direct = (flags & O_DIRECT) !== 0 && BatonError.is(error) && error.errnoName === "EINVAL";
    throw new BatonError("IMAGE_OPEN", `${id}: ${BatonError.from(error, "IMAGE_OPEN").message}`, {
      cause: error,
      ...(direct && { hint: "This file system has no direct I/O: set direct to off" }),
    });
  }
  if (shared || setOfdLock(fd, { type: readOnly ? "read" : "write" })) return fd;
  fd.close();
  const use = readOnly ? "is being written" : "is in use";
  throw new BatonError("IMAGE_LOCKED", `${id}: the image ${path} ${use} by another virtual machine or device`, {
    hint: "Stop the other one, or open it read-only in both",
    details: { path },
  });
}
