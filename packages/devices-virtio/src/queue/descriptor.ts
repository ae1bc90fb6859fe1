/** Descriptor flag: the chain goes on (virtio 1.2, 2.7.5 and 2.8.6). */
export const DESC_F_NEXT = 1;
/** Descriptor flag: the device may write (virtio 1.2, 2.7.5 and 2.8.3). */
export const DESC_F_WRITE = 2;
/** Descriptor flag: the buffer is a table of descriptors (virtio 1.2, 2.7.5.3 and 2.8.7). */
export const DESC_F_INDIRECT = 4;
/** Flag of a packed descriptor, compared with the wrap counters (virtio 1.2, 2.8.1). */
export const DESC_F_AVAIL = 1 << 7;
/** Flag of a packed descriptor, compared with the wrap counters (virtio 1.2, 2.8.1). */
export const DESC_F_USED = 1 << 15;
/** Bytes of a descriptor, of either layout (virtio 1.2, 2.7.5 and 2.8.13). */
export const DESC_BYTES = 16;
/** The largest queue, of either layout (virtio 1.2, 2.7 and 2.8). */
export const MAX_QUEUE_SIZE = 32768;
