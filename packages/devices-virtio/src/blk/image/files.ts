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
} from "@baton/linux";
import type { OpenOrFind } from "../../device/description.js";
import { ImageLocks } from "./locks.js";
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
  readonly locks: ImageLocks;
}

/** What the opening of a disk's files collects. */
interface Opening {
  readonly openOrFind: OpenOrFind;
  readonly fds: Fd[];
  readonly locks: ImageLocks;
}

/** Opens a disk's files and locks them, unless that is for `later`. Throws `IMAGE_OPEN`, `IMAGE_LOCKED`, `OVERLAY_FORMAT`, `OVERLAY_BASE`. */
export function openImageFiles(files: ImageFiles, openOrFind: OpenOrFind, later = false): OpenedImage {
  const opening: Opening = { openOrFind, fds: [], locks: new ImageLocks(files.id, later) };
  const { fds, locks } = opening;
  try {
    const image = files.overlay === undefined ? openRaw(files, opening) : openOverlay(files, opening);
    return { image, fds, locks };
  } catch (error) {
    for (const fd of fds) fd.close();
    throw error;
  }
}

function openRaw(files: ImageFiles, opening: Opening): ImageOptions {
  const { id, path, readOnly, direct, shared } = files;
  const access = readOnly ? O_RDONLY : O_RDWR;
  const fd = openFile(opening, "image", id, path, access | (direct ? O_DIRECT : 0));
  if (!shared) opening.locks.add(fd, path, readOnly ? "read" : "write");
  const type = fstat(fd).mode & S_IFMT;
  if (type !== S_IFREG && type !== S_IFBLK) {
    throw new BatonError("IMAGE_OPEN", `${id}: ${path} is neither a file nor a block device`);
  }
  const bufferedFd = direct ? openFile(opening, "image-buffered", id, path, access).raw : -1;
  return { kind: "raw", fd: fd.raw, bufferedFd, aio: files.aio ?? (direct ? "prefer-io_uring" : "threads") };
}

function openOverlay(files: ImageFiles, opening: Opening): ImageOptions {
  const { id, path } = files;
  const overlay = files.overlay as string;
  const base = openFile(opening, "base", id, path, O_RDONLY);
  opening.locks.add(base, path, "read");
  const fd = openFile(opening, "image", id, overlay, O_RDWR | O_CREAT);
  opening.locks.add(fd, overlay, "write");
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

function openFile({ openOrFind, fds }: Opening, name: string, id: string, path: string, flags: number): Fd {
  const fd = openOrFind(name, id, () => {
    try {
      return open(path, flags | O_CLOEXEC, 0o600);
    } catch (error) {
      const direct = (flags & O_DIRECT) !== 0 && BatonError.is(error) && error.errnoName === "EINVAL";
      throw new BatonError("IMAGE_OPEN", `${id}: ${BatonError.from(error, "IMAGE_OPEN").message}`, {
        cause: error,
        ...(direct && { hint: "This file system has no direct I/O: set direct to off" }),
      });
    }
  });
  fds.push(fd);
  return fd;
}
