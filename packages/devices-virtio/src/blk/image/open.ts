import type { BlockImage } from "./image.js";
import { OverlayImage, type OverlayOptions } from "./overlay.js";
import { RawImage, type RawImageOptions } from "./raw.js";

/** An image by its descriptors, structured-clonable. */
export type ImageOptions =
  | ({ readonly kind: "raw" } & RawImageOptions)
  | ({ readonly kind: "overlay" } & OverlayOptions);

/** Makes the image in the device's thread. Throws `OVERLAY_FORMAT`. */
export function openImage(options: ImageOptions): BlockImage {
  return options.kind === "raw" ? new RawImage(options) : new OverlayImage(options);
}
