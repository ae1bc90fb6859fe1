import type { RateLimitOptions } from "../device/rate-limit.js";
import type { ImageOptions } from "./image/open.js";

/** What a failed request leads to, as QEMU's `rerror` and `werror`. `enospc` stops for a full disk, else reports. */
export type ErrorPolicy = "report" | "ignore" | "enospc" | "stop";

/**
 * What becomes of a write of nothing but zeroes, as QEMU's `detect-zeroes`: with `on` the image is told to be zero there,
 * with `unmap` it may also give the space back, if discards do.
 */
export type DetectZeroes = "off" | "on" | "unmap";

/** What the device's half in its thread is made with. */
export interface BlkDeviceOptions {
  readonly image: ImageOptions;
  /** The image's path, and whether it is read past the page cache: for queries. */
  readonly path: string;
  readonly direct: boolean;
  readonly readOnly: boolean;
  readonly queues: number;
  readonly queueSize: number;
  readonly serial: string;
  /** Whether discards reach the image; a guest may send them either way. */
  readonly discard: boolean;
  readonly detectZeroes: DetectZeroes;
  readonly readError: ErrorPolicy;
  readonly writeError: ErrorPolicy;
  readonly limits: RateLimitOptions;
}
