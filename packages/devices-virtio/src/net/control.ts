import type { Chain } from "../queue/chain.js";
import { MAC_BYTES } from "./mac.js";

/** Classes and commands of the control queue (virtio 1.2, 5.1.6.5). */
export const VIRTIO_NET_CTRL_RX = 0;
export const VIRTIO_NET_CTRL_RX_PROMISC = 0;
export const VIRTIO_NET_CTRL_RX_ALLMULTI = 1;
export const VIRTIO_NET_CTRL_MAC = 1;
export const VIRTIO_NET_CTRL_MAC_TABLE_SET = 0;
export const VIRTIO_NET_CTRL_MAC_ADDR_SET = 1;
export const VIRTIO_NET_CTRL_ANNOUNCE = 3;
export const VIRTIO_NET_CTRL_ANNOUNCE_ACK = 0;
export const VIRTIO_NET_CTRL_MQ = 4;
export const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
export const VIRTIO_NET_CTRL_GUEST_OFFLOADS = 5;
export const VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET = 0;

/** What a command is answered with. */
export const VIRTIO_NET_OK = 0;
export const VIRTIO_NET_ERR = 1;

/** Class and command. */
const HEADER_BYTES = 2;
/** Of each table, the addresses that are kept; a longer one counts as all addresses, as in QEMU. */
export const MAX_TABLE = 64;
/** More than any command has. */
const MAX_BYTES = HEADER_BYTES + 2 * (4 + 4096 * MAC_BYTES);

/** Which addresses the guest asked for: kept, and not acted on, as the host's bridge knows better. */
export interface ReceiveFilter {
  promiscuous: boolean;
  allMulticast: boolean;
  unicast: readonly Uint8Array[];
  multicast: readonly Uint8Array[];
  /** Whether a table was too long to be kept. */
  overflow: boolean;
}

/** The filter of a device that was reset. */
export function openFilter(): ReceiveFilter {
  return { promiscuous: true, allMulticast: false, unicast: [], multicast: [], overflow: false };
}

/** What control commands act on; false refuses. */
export interface ControlTarget {
  readonly filter: ReceiveFilter;
  setMac(mac: Uint8Array): boolean;
  acknowledgeAnnounce(): boolean;
  setPairs(pairs: number): boolean;
  setOffloads(offloads: bigint): boolean;
}

/** Carries out one command and writes the answer; the chain has room for one. Returns the bytes written. */
export function answerControl(chain: Chain, target: ControlTarget): number {
  const bytes = new Uint8Array(Math.min(chain.readableLength, MAX_BYTES));
  chain.read(bytes);
  const ok = chain.readableLength <= MAX_BYTES && perform(bytes, target);
  return chain.write(Uint8Array.of(ok ? VIRTIO_NET_OK : VIRTIO_NET_ERR));
}

function perform(bytes: Uint8Array, target: ControlTarget): boolean {
  if (bytes.length < HEADER_BYTES) return false;
  const kind = `${bytes[0]}/${bytes[1]}`;
  const command = commands.get(kind);
  const data = bytes.subarray(HEADER_BYTES);
  return command !== undefined && (command.length === undefined || data.length === command.length)
    ? command.run(new DataView(data.buffer, data.byteOffset, data.length), target)
    : false;
}

interface ControlCommand {
  /** Of its data, where it is fixed. */
  readonly length?: number;
  run(data: DataView, target: ControlTarget): boolean;
}

const commands: ReadonlyMap<string, ControlCommand> = new Map<string, ControlCommand>([
  [
    `${VIRTIO_NET_CTRL_RX}/${VIRTIO_NET_CTRL_RX_PROMISC}`,
    {
      length: 1,
      run: (data, { filter }) => {
        filter.promiscuous = data.getUint8(0) !== 0;
        return true;
      },
    },
  ],
  [
    `${VIRTIO_NET_CTRL_RX}/${VIRTIO_NET_CTRL_RX_ALLMULTI}`,
    {
      length: 1,
      run: (data, { filter }) => {
        filter.allMulticast = data.getUint8(0) !== 0;
        return true;
      },
    },
  ],
  [`${VIRTIO_NET_CTRL_MAC}/${VIRTIO_NET_CTRL_MAC_TABLE_SET}`, { run: setTables }],
  [
    `${VIRTIO_NET_CTRL_MAC}/${VIRTIO_NET_CTRL_MAC_ADDR_SET}`,
    { length: MAC_BYTES, run: (data, target) => target.setMac(bytesOf(data, 0, MAC_BYTES)) },
  ],
  [
    `${VIRTIO_NET_CTRL_ANNOUNCE}/${VIRTIO_NET_CTRL_ANNOUNCE_ACK}`,
    { length: 0, run: (_data, target) => target.acknowledgeAnnounce() },
  ],
  [
    `${VIRTIO_NET_CTRL_MQ}/${VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET}`,
    { length: 2, run: (data, target) => target.setPairs(data.getUint16(0, true)) },
  ],
  [
    `${VIRTIO_NET_CTRL_GUEST_OFFLOADS}/${VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET}`,
    { length: 8, run: (data, target) => target.setOffloads(data.getBigUint64(0, true)) },
  ],
]);

function bytesOf(data: DataView, from: number, length: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + from, length).slice();
}

/** Two tables, each its length of 32 bits and so many addresses (5.1.6.5.2). */
function setTables(data: DataView, { filter }: ControlTarget): boolean {
  const tables: Uint8Array[][] = [];
  let overflow = false;
  let at = 0;
  for (let table = 0; table < 2; table++) {
    if (at + 4 > data.byteLength) return false;
    const entries = data.getUint32(at, true);
    at += 4;
    if (entries * MAC_BYTES > data.byteLength - at) return false;
    overflow ||= entries > MAX_TABLE;
    const kept = entries > MAX_TABLE ? 0 : entries;
    tables.push(Array.from({ length: kept }, (_, i) => bytesOf(data, at + i * MAC_BYTES, MAC_BYTES)));
    at += entries * MAC_BYTES;
  }
  if (at !== data.byteLength) return false;
  const [unicast, multicast] = tables as [Uint8Array[], Uint8Array[]];
  Object.assign(filter, { unicast, multicast, overflow });
  return true;
}
