/** `struct virtio_net_hdr` in front of every frame, in bytes: always with `num_buffers` (virtio 1.2, 5.1.6). */
export const NET_HEADER_BYTES = 12;
/** Where the header says how many buffers a received packet takes. */
export const NUM_BUFFERS = 10;
/** Ethernet's header, and one VLAN tag. */
export const ETHERNET_BYTES = 14;
const VLAN_BYTES = 4;
/** The longest packet with its header: what segmentation leaves whole, 65535 bytes beyond an IPv6 header. */
export const MAX_PACKET_BYTES = NET_HEADER_BYTES + ETHERNET_BYTES + VLAN_BYTES + 40 + 65_535;

const USUAL_MTU = 1500;

/** The longest packet with its header that is to be expected, in bytes. */
export function expectedBytes(large: boolean, mtu: number): number {
  return large ? MAX_PACKET_BYTES : NET_HEADER_BYTES + ETHERNET_BYTES + VLAN_BYTES + Math.max(mtu, USUAL_MTU);
}

/** Packets and bytes moved before other devices have their turn. */
export const PACKET_BUDGET = 256;
export const BYTE_BUDGET = 1 << 20;
/** What the driver is shown at once, in packets and bytes: it makes more while the device goes on. */
export const PUBLISH_PACKETS = 16;
export const PUBLISH_BYTES = 16 * 1024;
