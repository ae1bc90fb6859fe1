import type { BusHandler, HandlerContext } from "@baton/core-kvm/handler";

/** Words of the memory that a device shares with the vCPU threads. */
export const sharedWord = {
  /** Bits that the driver has not acknowledged. */
  status: 0,
  /** Bits that always read as set: a queue's while the kernel raises its interrupts, who cannot set them. */
  always: 1,
} as const;

/** Bytes of that memory. */
export const SHARED_BYTES = 8;

/** InterruptStatus (0x60) and InterruptACK (0x64) of virtio-mmio (virtio 1.2, 4.2.2), answered in the vCPU's thread. */
export function virtioInterruptStatus({ shared }: HandlerContext): BusHandler {
  const words = new Int32Array(shared);
  return {
    read: (offset, size) =>
      offset === 0 && size === 4 ? Atomics.load(words, sharedWord.status) | (words[sharedWord.always] as number) : 0,
    write(offset, size, value) {
      if (offset === 4 && size === 4) Atomics.and(words, sharedWord.status, ~value);
    },
  };
}
