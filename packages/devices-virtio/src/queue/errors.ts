import { BatonError } from "@baton/linux";

/**
 * What is wrong with a queue, a stable literal:
 *
 * - `size`: not a size that the queue can have
 * - `ring-address`: a ring is misaligned, or is not RAM in one piece
 * - `index-jump`: the driver made more buffers available than the queue has (virtio 1.2, 2.7.13.3)
 * - `index-range`: a descriptor's number is not below the size of its table
 * - `descriptor-loop`: a chain is longer than the queue or its table allows: it loops, mostly (2.7.5.2)
 * - `indirect`: an indirect descriptor without the feature, in an indirect table, or with others after it (2.7.5.3.1)
 * - `indirect-table`: an indirect table that is empty, not a multiple of 16 bytes, or not RAM
 * - `zero-length`: a descriptor of no bytes
 * - `address`: a buffer that is not RAM throughout
 * - `total-length`: a chain of more than 2^32 bytes (2.7.5.2)
 * - `order`: a readable descriptor after a writable one (2.7.4.2)
 * - `duplicate`: a buffer that the device has already
 * - `request`: a buffer that lacks a part that the device needs, such as its header
 * - `overcommit`: the device would have more descriptors than the queue has
 */
export type QueueFault =
  | "size"
  | "ring-address"
  | "index-jump"
  | "index-range"
  | "descriptor-loop"
  | "indirect"
  | "indirect-table"
  | "zero-length"
  | "address"
  | "total-length"
  | "order"
  | "duplicate"
  | "request"
  | "overcommit";

/**
 * The driver broke the rules of a queue: a `BatonError` with code `VIRTQUEUE_BROKEN` and details `queue`, `reason` and
 * `index`. The device answers it with DEVICE_NEEDS_RESET (virtio 1.2, 2.1.2).
 */
export class QueueError extends BatonError {
  /** What is wrong. */
  readonly reason: QueueFault;

  /** `queue` is the queue's number; `index` is the ring index, descriptor or buffer that is wrong. */
  constructor(queue: number, reason: QueueFault, index: number, message: string) {
    super("VIRTQUEUE_BROKEN", `queue ${queue}: ${message}`, { details: { queue, reason, index } });
    this.reason = reason;
  }
}
