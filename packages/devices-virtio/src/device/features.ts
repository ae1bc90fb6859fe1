import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "../queue/features.js";

/** Bit number: not a legacy device (virtio 1.2, 6.1); always offered, and without it nothing is accepted. */
export const VIRTIO_F_VERSION_1 = 32;

/** Which ring features a device offers; all unless said otherwise, save `inOrder`. */
export interface RingFeatures {
  readonly packed?: boolean;
  readonly indirect?: boolean;
  readonly eventIndex?: boolean;
  readonly inOrder?: boolean;
}

/** The number with one bit set. */
export function bit(number: number): bigint {
  return 1n << BigInt(number);
}

/** Whether a bit is set. */
export function hasBit(bits: bigint, number: number): boolean {
  return ((bits >> BigInt(number)) & 1n) === 1n;
}

/** The bits that a transport adds to a device's own. */
export function transportFeatures(rings: RingFeatures = {}): bigint {
  const { packed = true, indirect = true, eventIndex = true, inOrder = false } = rings;
  let bits = bit(VIRTIO_F_VERSION_1);
  if (packed) bits |= bit(VIRTIO_F_RING_PACKED);
  if (indirect) bits |= bit(VIRTIO_F_INDIRECT_DESC);
  if (eventIndex) bits |= bit(VIRTIO_F_EVENT_IDX);
  if (inOrder) bits |= bit(VIRTIO_F_IN_ORDER);
  return bits;
}
