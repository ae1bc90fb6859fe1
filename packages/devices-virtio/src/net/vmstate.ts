import {
  bool,
  buffer,
  existsIf,
  type Field,
  list,
  named,
  type StateOf,
  struct,
  u8,
  u16,
  u32,
  u64,
  vmstate,
} from "@baton/migration/vmstate";
import { virtioSections } from "../device/sections.js";
import { MAC_BYTES } from "./mac.js";
import type { NetState } from "./state.js";

const VLAN_BYTES = 512;
const STATUS_LINK_UP = 1;
const STATUS_ANNOUNCE = 2;
const F_CTRL_GUEST_OFFLOADS = 1 << 2;

const packet = vmstate({ name: "baton/packet", version: 1, fields: { length: u32, bytes: buffer("length") } });
const pending = vmstate({ name: "baton/packets", version: 1, fields: { packets: list(struct(packet)) } });

/** Baton's part. `offloads` counts, and QEMU's member, which not every guest has, is a copy. */
const own = vmstate({
  name: "baton/virtio-net",
  version: 1,
  fields: {
    permanentMac: buffer(MAC_BYTES),
    mtu: u16,
    offloads: u64,
    /** How many of QEMU's addresses the guest gave as such of one station. */
    unicastCount: u32,
    halted: bool,
    pending: list(struct(pending)),
  },
});

/** A word for each pair in use but the first. */
const othersWaiting: Field<number[], { currentPairs: number }> = {
  type: "tmp",
  minimumBytes: 0,
  reads: ["currentPairs"],
  save(sink, value, scope) {
    const pairs = Math.max(Number(scope.state.currentPairs) - 1, 0);
    sink.beginElements("plain", pairs);
    for (let i = 0; i < pairs; i++) {
      sink.element("plain");
      u32.save(sink, value[i] ?? 0, scope);
    }
    sink.endElements("plain");
  },
  load(source, scope) {
    const pairs = Math.max(Number(scope.state.currentPairs) - 1, 0);
    source.beginElements("plain", 4, pairs);
    const value = Array.from({ length: pairs }, (_, i) => {
      source.element(i);
      return source.integer("uint32");
    });
    source.endElements("plain");
    return value;
  },
};

function fields(queues: number) {
  const many = () => queues > 3;
  return {
    mac: buffer(MAC_BYTES),
    waiting: named("tx_waiting", u32),
    mergeable: named("mergeable_rx_bufs", u32),
    linkStatus: named("status_bits", u16),
    promiscuous: named("promisc", u8),
    allMulticast: named("allmulti", u8),
    addressCount: named("mac_table.in_use", u32),
    addresses: named("mac_table.macs", buffer({ of: "addressCount", times: MAC_BYTES })),
    vlans: buffer(VLAN_BYTES),
    hasHeader: named("has_vnet_hdr", u32),
    multicastOverflow: named("mac_table.multi_overflow", u8),
    unicastOverflow: named("mac_table.uni_overflow", u8),
    allUnicast: named("alluni", u8),
    noMulticast: named("nomulti", u8),
    noUnicast: named("nouni", u8),
    noBroadcast: named("nobcast", u8),
    hasUfo: named("has_ufo", u8),
    maxPairs: named("max_queue_pairs", existsIf([], many, u16, 1)),
    currentPairs: named("curr_queue_pairs", existsIf([], many, u16, 1)),
    othersWaiting: existsIf<number[], { currentPairs: number }, unknown>([], many, othersWaiting, []),
    currentOffloads: named(
      "curr_guest_offloads",
      existsIf(
        ["featuresLow"],
        ({ featuresLow }: { featuresLow: number }) => (featuresLow & F_CTRL_GUEST_OFFLOADS) !== 0,
        u64,
        0n,
      ),
    ),
  } as const;
}

/**
 * Sections of network cards: QEMU's `virtio-net`, version 11, and {@link own}. VLANs, and the filters that Baton does
 * not offer, are QEMU's own: as after a reset from Baton, and without a meaning on load. QEMU: hw/net/virtio-net.c.
 */
export const netSections = virtioSections({
  name: "virtio-net",
  version: 11,
  fields,
  own,
  split(device: NetState, queues) {
    const { filter, pairs, offloads } = device;
    const all = [...filter.unicast, ...filter.multicast];
    const addresses = new Uint8Array(all.length * MAC_BYTES);
    for (const [i, address] of all.entries()) addresses.set(address, i * MAC_BYTES);
    const overflow = filter.overflow ? 1 : 0;
    const section: StateOf<typeof own> = {
      permanentMac: device.permanentMac,
      mtu: device.mtu,
      offloads,
      unicastCount: filter.unicast.length,
      halted: device.halted,
      pending: device.pending.map((packets) => ({
        packets: packets.map((bytes) => ({ length: bytes.length, bytes })),
      })),
    };
    const qemu = {
      mac: device.mac,
      waiting: 0,
      mergeable: 0,
      linkStatus: (device.linkUp ? STATUS_LINK_UP : 0) | (device.announce ? STATUS_ANNOUNCE : 0),
      promiscuous: filter.promiscuous ? 1 : 0,
      allMulticast: filter.allMulticast ? 1 : 0,
      addressCount: all.length,
      addresses,
      vlans: new Uint8Array(VLAN_BYTES),
      hasHeader: 1,
      multicastOverflow: overflow,
      unicastOverflow: overflow,
      allUnicast: 0,
      noMulticast: 0,
      noUnicast: 0,
      noBroadcast: 0,
      hasUfo: 0,
      maxPairs: Math.max((queues - 1) >> 1, 1),
      currentPairs: pairs,
      othersWaiting: [],
      currentOffloads: offloads,
    };
    return { qemu, own: section };
  },
  join(qemu, { permanentMac, mtu, offloads, unicastCount, halted, pending }): NetState {
    const addresses = Array.from({ length: qemu.addressCount }, (_, i) =>
      qemu.addresses.slice(i * MAC_BYTES, (i + 1) * MAC_BYTES),
    );
    return {
      mac: qemu.mac,
      permanentMac,
      mtu,
      linkUp: (qemu.linkStatus & STATUS_LINK_UP) !== 0,
      announce: (qemu.linkStatus & STATUS_ANNOUNCE) !== 0,
      pairs: qemu.currentPairs,
      offloads,
      halted,
      filter: {
        promiscuous: qemu.promiscuous !== 0,
        allMulticast: qemu.allMulticast !== 0,
        unicast: addresses.slice(0, unicastCount),
        multicast: addresses.slice(unicastCount),
        overflow: qemu.multicastOverflow !== 0 || qemu.unicastOverflow !== 0,
      },
      pending: pending.map(({ packets }) => packets.map(({ bytes }) => bytes)),
    };
  },
});
