/** Bytes of a device's registers, its configuration space among them (virtio 1.2, 4.2.2). */
export const MMIO_LENGTH = 0x200;
/** Where the configuration space begins. */
export const MMIO_CONFIG = 0x100;
/** The doorbell: a write of a queue's number, 32 bits. */
export const MMIO_QUEUE_NOTIFY = 0x50;
/** Interrupt status and acknowledgement: the two registers of every interrupt, answered in the vCPU's thread. */
export const MMIO_INTERRUPT = { offset: 0x60, length: 8 } as const;

/** "virt" */
export const MMIO_MAGIC = 0x7472_6976;
export const MMIO_VERSION = 2;
/** "BATN": who made the device; drivers do not care. */
export const MMIO_VENDOR = 0x4e54_4142;
