import { TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_UFO } from "../abi/tun.js";
import { bit, hasBit } from "../device/features.js";

/** Feature bits of a network device (virtio 1.2, 5.1.3). */
export const VIRTIO_NET_F_CSUM = 0;
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_GUEST_ECN = 9;
export const VIRTIO_NET_F_GUEST_UFO = 10;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_HOST_ECN = 13;
export const VIRTIO_NET_F_HOST_UFO = 14;
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
export const VIRTIO_NET_F_CTRL_VQ = 17;
export const VIRTIO_NET_F_CTRL_RX = 18;
export const VIRTIO_NET_F_GUEST_ANNOUNCE = 21;
export const VIRTIO_NET_F_MQ = 22;
export const VIRTIO_NET_F_CTRL_MAC_ADDR = 23;

const bits = (...numbers: number[]): bigint => numbers.reduce((sum, number) => sum | bit(number), 0n);

/** What the guest is ready to receive unfinished: the bits that VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET takes (5.1.6.5.6.1). */
export const GUEST_OFFLOADS = bits(
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_UFO,
);

/** Packets longer than the MTU may come with one of these. */
const LARGE_RECEIVE = bits(VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_UFO);

/** What only a tap finishes for the guest or leaves unfinished. */
const TAP_OFFLOADS =
  GUEST_OFFLOADS |
  bits(
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_HOST_UFO,
    VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  );

/** What decides which features a device offers. */
export interface NetShape {
  readonly tap: boolean;
  readonly multiQueue: boolean;
  readonly mtu: boolean;
}

/** The features that a network device offers, beside those of rings and transport. */
export function netFeatures({ tap, multiQueue, mtu }: NetShape): bigint {
  let offered = bits(
    VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_STATUS,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_CTRL_VQ,
    VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_MAC_ADDR,
    VIRTIO_NET_F_GUEST_ANNOUNCE,
  );
  if (tap) offered |= TAP_OFFLOADS;
  if (multiQueue) offered |= bit(VIRTIO_NET_F_MQ);
  if (mtu) offered |= bit(VIRTIO_NET_F_MTU);
  return offered;
}

/** Whether packets may be longer than the MTU under these offloads. */
export function receivesLarge(offloads: bigint): boolean {
  return (offloads & LARGE_RECEIVE) !== 0n;
}

/** The argument of TUNSETOFFLOAD for offloads of the guest: segmentation stands on checksums, ECN on segmentation. */
export function tapOffloads(offloads: bigint): number {
  if (!hasBit(offloads, VIRTIO_NET_F_GUEST_CSUM)) return 0;
  let flags = TUN_F_CSUM;
  if (hasBit(offloads, VIRTIO_NET_F_GUEST_TSO4)) flags |= TUN_F_TSO4;
  if (hasBit(offloads, VIRTIO_NET_F_GUEST_TSO6)) flags |= TUN_F_TSO6;
  if (hasBit(offloads, VIRTIO_NET_F_GUEST_ECN) && (flags & (TUN_F_TSO4 | TUN_F_TSO6)) !== 0) flags |= TUN_F_TSO_ECN;
  if (hasBit(offloads, VIRTIO_NET_F_GUEST_UFO)) flags |= TUN_F_UFO;
  return flags;
}
