import { deviceStateError, StateReader } from "../device/state.js";
import { MAX_MTU } from "./config.js";
import { MAX_TABLE, type ReceiveFilter } from "./control.js";
import { GUEST_OFFLOADS } from "./features.js";
import { BATCH_FRAMES } from "./frame-ring.js";
import { formatMac, MAC_BYTES } from "./mac.js";
import { MAX_PACKET_BYTES, NET_HEADER_BYTES } from "./packet.js";

/** What a network device saves: packets are in the rings, or still in the host's queue. */
export interface NetState {
  /** The address in use, and the one that a reset brings back. */
  readonly mac: Uint8Array;
  readonly permanentMac: Uint8Array;
  /** 0: the guest was told none. */
  readonly mtu: number;
  readonly linkUp: boolean;
  /** The guest has been asked to announce itself and has not answered. */
  readonly announce: boolean;
  /** Pairs of queues in use. */
  readonly pairs: number;
  /** The GUEST_* feature bits in force. */
  readonly offloads: bigint;
  readonly filter: ReceiveFilter;
  /** The driver broke the rules: nothing moves until a reset. */
  readonly halted: boolean;
  /** For each pair the packets that had no room in the guest, with their headers. */
  readonly pending: readonly (readonly Uint8Array[])[];
}

/** Reads a state that was not made in this process; throws `DEVICE_STATE`. */
export function readNetState(device: string, state: unknown, maxPairs: number): NetState {
  const reader = new StateReader(device, state, "device");
  const address = (field: string) => {
    const bytes = reader.bytes(field, MAC_BYTES);
    if (bytes.length !== MAC_BYTES) throw reader.error(field, `has ${bytes.length} bytes`);
    return bytes.slice();
  };
  const offloads = reader.bits("offloads");
  if ((offloads & ~GUEST_OFFLOADS) !== 0n) throw reader.error("offloads", "has bits that are none of offloads");
  return {
    mac: address("mac"),
    permanentMac: address("permanentMac"),
    mtu: reader.integer("mtu", 0, MAX_MTU),
    linkUp: reader.boolean("linkUp"),
    announce: reader.boolean("announce"),
    pairs: reader.integer("pairs", 1, maxPairs),
    offloads,
    halted: reader.boolean("halted"),
    filter: readFilter(device, reader.object("filter")),
    pending: readPending(device, reader, maxPairs),
  };
}

function readFilter(device: string, reader: StateReader): ReceiveFilter {
  const table = (field: string) =>
    reader.list(field, MAX_TABLE, (entry, path) => {
      if (entry instanceof Uint8Array && entry.length === MAC_BYTES) return entry.slice();
      throw deviceStateError(device, path, "is no MAC address");
    });
  return {
    promiscuous: reader.boolean("promiscuous"),
    allMulticast: reader.boolean("allMulticast"),
    unicast: table("unicast"),
    multicast: table("multicast"),
    overflow: reader.boolean("overflow"),
  };
}

function readPending(device: string, reader: StateReader, maxPairs: number): Uint8Array[][] {
  const pending = reader.list("pending", maxPairs, (packets, path) => {
    if (!Array.isArray(packets) || packets.length > BATCH_FRAMES) throw deviceStateError(device, path, "is no list");
    return packets.map((packet: unknown, i) => {
      const sound =
        packet instanceof Uint8Array && packet.length >= NET_HEADER_BYTES && packet.length <= MAX_PACKET_BYTES;
      if (!sound) throw deviceStateError(device, `${path}[${i}]`, "is no packet");
      return packet.slice();
    });
  });
  if (pending.length !== maxPairs) throw reader.error("pending", `there are ${pending.length} of ${maxPairs} pairs`);
  return pending;
}

/** A filter with its addresses as text. */
export function describeFilter(filter: ReceiveFilter): NetFilterInfo {
  return {
    promiscuous: filter.promiscuous,
    allMulticast: filter.allMulticast,
    unicast: filter.unicast.map(formatMac),
    multicast: filter.multicast.map(formatMac),
    overflow: filter.overflow,
  };
}

/** Which addresses the guest asked for. */
export interface NetFilterInfo {
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  readonly unicast: readonly string[];
  readonly multicast: readonly string[];
  /** Whether a table of more than 64 addresses was not kept. */
  readonly overflow: boolean;
}
