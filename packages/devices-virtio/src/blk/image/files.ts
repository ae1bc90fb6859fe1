import {
  BatonError,
  type Fd,
  fstat,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  open,
  S_IFBLK,
  S_IFMT,
  S_IFREG,
  setOfdLock,
} from "@baton/linux";
import type { OpenOrFind } from "../../device/description.js";
import type { ImageOptions } from "./open.js";
import { readOverlayHeader, writeOverlayHeader } from "./overlay-format.js";
import type { Aio } from "./ring.js";

/** Which files a disk is made of. */
export interface ImageFiles {
  /** The disk's id, for messages. */
  readonly id: string;
  readonly path: string;
  /** Where what the guest writes goes instead; made where it does not exist. */
  readonly overlay?: string;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly shared: boolean;
  /** How a raw image's requests are carried out; io_uring where the kernel has it for `direct` ones unless given. */
  readonly aio?: Aio;
}

/** Opened files with what the device's thread makes an image of. */
export interface OpenedImage {
  readonly image: ImageOptions;
  readonly fds: readonly Fd[];
}

/** Opens and locks a disk's files. Throws `IMAGE_OPEN`, `IMAGE_LOCKED`, `OVERLAY_FORMAT`, `OVERLAY_BASE`. */
export function openImageFiles(files: ImageFiles, openOrFind: OpenOrFind): OpenedImage {
  const fds: Fd[] = [];
  const keep = (fd: Fd): Fd => {
    fds.push(fd);
    return fd;
  };
  try {
    const image = files.overlay === undefined ? openRaw(files, openOrFind, keep) : openOverlay(files, openOrFind, keep);
    return { image, fds };
  } catch (error) {
    for (const fd of fds) fd.close();
    throw error;
  }
}

function openRaw(files: ImageFiles, openOrFind: OpenOrFind, keep: (fd: Fd) => Fd): ImageOptions {
  const { id, path, readOnly, direct, shared } = files;
  const access = readOnly ? O_RDONLY : O_RDWR;
  const lock = shared ? undefined : readOnly ? "read" : "write";
  const fd = keep(openOrFind("image", id, () => openLocked(id, path, access | (direct ? O_DIRECT : 0), lock)));
  const type = fstat(fd).mode & S_IFMT;
  if (type !== S_IFREG && type !== S_IFBLK) {
    throw new BatonError("IMAGE_OPEN", `${id}: ${path} is neither a file nor a block device`);
  }
  const bufferedFd = direct
    ? keep(openOrFind("image-buffered", id, () => openLocked(id, path, access, undefined))).raw
    : -1;
  return { kind: "raw", fd: fd.raw, bufferedFd, aio: files.aio ?? (direct ? "prefer-io_uring" : "threads") };
}

function openOverlay(files: ImageFiles, openOrFind: OpenOrFind, keep: (fd: Fd) => Fd): ImageOptions {
  const { id, path } = files;
  const overlay = files.overlay as string;
  const base = keep(openOrFind("base", id, () => openLocked(id, path, O_RDONLY, "read")));
  const fd = keep(openOrFind("image", id, () => openLocked(id, overlay, O_RDWR | O_CREAT, "write")));
  const status = fstat(base);
  const baseSize = Math.floor(Number(status.size) / 512) * 512;
  const baseChanged = status.mtimeNs;
  if (fstat(fd).size === 0n) writeOverlayHeader(fd, { size: baseSize, baseSize, baseChanged });
  const header = readOverlayHeader(fd, overlay);
  if (header.baseSize !== baseSize || header.baseChanged !== baseChanged) {
    throw new BatonError("OVERLAY_BASE", `${id}: ${path} has changed since the overlay ${overlay} was made over it`, {
      hint: "An overlay is of use over the very image that it was made for",
    });
  }
  return { kind: "overlay", fd: fd.raw, path: overlay, baseFd: base.raw };
}

/** Opens an image file and locks it: shared for reading, exclusive for writing. The lock lives as long as the open file. */
function openLocked(id: string, path: string, flags: number, lock: "read" | "write" | undefined): Fd {
  let fd: Fd;
  try {
    fd = open(path, flags | O_CLOEXEC, 0o600);
  } catch (error) {
    const direct = (flags & O_DIRECT) !== 0 && BatonError.is(error) && error.errnoName === "EINVAL";
    throw new BatonError("IMAGE_OPEN", `${id}: ${BatonError.from(error, "IMAGE_OPEN").message}`, {
      cause: error,
      ...(direct && { hint: "This file system has no direct I/O: set direct to off" }),
    });
  }
  if (lock === undefined || setOfdLock(fd, { type: lock })) return fd;
  fd.close();
  const use = lock === "read" ? "is being written" : "is in use";
  throw new BatonError("IMAGE_LOCKED", `${id}: the image ${path} ${use} by another virtual machine or device`, {
    hint: "Stop the other one, or open it read-only in both",
    details: { path },
  });
}
