import { queueFeatures } from "./features.js";
import { PackedQueue } from "./packed.js";
import type { QueueOptions, VirtQueue } from "./queue.js";
import { SplitQueue } from "./split.js";

/** Makes the kind of queue that was negotiated: packed with VIRTIO_F_RING_PACKED, else split. It is not configured yet. */
export function createQueue(options: QueueOptions): VirtQueue {
  return queueFeatures(options.features).packed ? new PackedQueue(options) : new SplitQueue(options);
}
