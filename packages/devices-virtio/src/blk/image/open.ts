import type { BlockImage } from "./image.js";
import { RawImage } from "./raw.js";

/** An image by its descriptors, structured-clonable. */
export type ImageOptions = {
  readonly kind: "raw";
  readonly fd: number;
  /** The same file without O_DIRECT; -1 where `fd` has none. */
  readonly bufferedFd: number;
};

/** Makes the image in the device's thread. */
export function openImage(options: ImageOptions): BlockImage {
  switch (options.kind) {
    case "raw":
      return new RawImage(options);
    default:
      return options.kind satisfies never;
  }
}
