import type { BlockImage } from "./image.js";
import { NoImage } from "./no-image.js";
import { OverlayImage, type OverlayOptions } from "./overlay.js";
import { RawImage, type RawImageOptions } from "./raw.js";

/** An image by its descriptors, structured-clonable. */
export type ImageOptions =
  | ({ readonly kind: "raw" } & RawImageOptions)
  | ({ readonly kind: "overlay" } & OverlayOptions)
  | { readonly kind: "none" };

/** Makes the image in the device's thread. Throws `OVERLAY_FORMAT`. */
export function openImage(options: ImageOptions): BlockImage {
  switch (options.kind) {
    case "raw":
      return new RawImage(options);
    case "overlay":
      return new OverlayImage(options);
    case "none":
      return new NoImage();
    default:
      return options satisfies never;
  }
}
