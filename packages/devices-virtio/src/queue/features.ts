/** Bit number: chains may stand in a table of their own (virtio 1.2, 2.7.5.3 and 2.8.7). */
export const VIRTIO_F_INDIRECT_DESC = 28;
/** Bit number: notifications are asked for by position (virtio 1.2, 2.7.7, 2.7.10 and 2.8.10). */
export const VIRTIO_F_EVENT_IDX = 29;
/** Bit number: queues are packed (virtio 1.2, 2.8). */
export const VIRTIO_F_RING_PACKED = 34;
/** Bit number: the device uses buffers in the order in which they were made available (virtio 1.2, 2.7.9 and 2.8.8). */
export const VIRTIO_F_IN_ORDER = 35;

/** The negotiated features that change how a queue works. */
export interface QueueFeatures {
  readonly packed: boolean;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
  readonly inOrder: boolean;
}

/** Picks out of negotiated feature bits (virtio 1.2, 6) what queues need. */
export function queueFeatures(bits: bigint): QueueFeatures {
  const has = (bit: number) => ((bits >> BigInt(bit)) & 1n) === 1n;
  return {
    packed: has(VIRTIO_F_RING_PACKED),
    indirect: has(VIRTIO_F_INDIRECT_DESC),
    eventIndex: has(VIRTIO_F_EVENT_IDX),
    inOrder: has(VIRTIO_F_IN_ORDER),
  };
}
