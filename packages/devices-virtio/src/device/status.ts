/** Bits of the device status field (virtio 1.2, 2.1). */
export const STATUS_ACKNOWLEDGE = 0x01;
export const STATUS_DRIVER = 0x02;
export const STATUS_DRIVER_OK = 0x04;
export const STATUS_FEATURES_OK = 0x08;
export const STATUS_NEEDS_RESET = 0x40;
export const STATUS_FAILED = 0x80;

/** Bits of the interrupt status (virtio 1.2, 4.1.4.5 and 4.2.2). */
export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;
