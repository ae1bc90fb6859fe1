/**
 * Virtio 1.2 over guest RAM: virtqueues, split and packed, the device's side.
 *
 * @packageDocumentation
 */

// For those who build devices.
export type { ChainParts, ChainPiece, ChainState } from "./queue/chain.js";
export { Chain } from "./queue/chain.js";
export { createQueue } from "./queue/create.js";
// For those who build drivers and tools.
export {
  DESC_BYTES,
  DESC_F_AVAIL,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_USED,
  DESC_F_WRITE,
  MAX_QUEUE_SIZE,
} from "./queue/descriptor.js";
export { QueueError, type QueueFault } from "./queue/errors.js";
export {
  type QueueFeatures,
  queueFeatures,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "./queue/features.js";
export type {
  Completion,
  InFlightState,
  PackedQueueState,
  QueueLayout,
  QueueOptions,
  QueueState,
  QueueStateBase,
  SplitQueueState,
  VirtQueue,
} from "./queue/queue.js";
