import { MAC_BYTES } from "./mac.js";

/** The most pairs of queues. */
export const NET_MAX_PAIRS = 16;
export const NET_MAX_QUEUE_SIZE = 1024;
export const NET_MIN_QUEUE_SIZE = 16;
/** Descriptors of the control queue. */
export const CONTROL_QUEUE_SIZE = 64;
/** The bounds of an MTU: IPv4's least, and what a length of 16 bits allows. */
export const MIN_MTU = 68;
export const MAX_MTU = 65_535;

/** Bits of `status` (virtio 1.2, 5.1.4). */
const STATUS_LINK_UP = 1;
const STATUS_ANNOUNCE = 2;

const CONFIG_BYTES = 12;
const STATUS = 6;
const PAIRS = 8;
const MTU = 10;

/** The configuration space of a network device (virtio 1.2, 5.1.4): mac, status, max_virtqueue_pairs, mtu. */
export class NetConfig {
  readonly bytes = new Uint8Array(CONFIG_BYTES);
  readonly #data = new DataView(this.bytes.buffer);

  constructor(mac: Uint8Array, pairs: number, mtu: number) {
    this.bytes.set(mac);
    this.#data.setUint16(PAIRS, pairs, true);
    this.mtu = mtu;
  }

  get mac(): Uint8Array {
    return this.bytes.subarray(0, MAC_BYTES);
  }

  set mac(mac: Uint8Array) {
    this.bytes.set(mac);
  }

  /** 0: not said. */
  get mtu(): number {
    return this.#data.getUint16(MTU, true);
  }

  set mtu(mtu: number) {
    this.#data.setUint16(MTU, mtu, true);
  }

  get linkUp(): boolean {
    return this.#has(STATUS_LINK_UP);
  }

  set linkUp(up: boolean) {
    this.#set(STATUS_LINK_UP, up);
  }

  /** Whether the guest is asked to tell the network where it is (5.1.6.5.4). */
  get announce(): boolean {
    return this.#has(STATUS_ANNOUNCE);
  }

  set announce(wanted: boolean) {
    this.#set(STATUS_ANNOUNCE, wanted);
  }

  #has(flag: number): boolean {
    return (this.#data.getUint16(STATUS, true) & flag) !== 0;
  }

  #set(flag: number, on: boolean): void {
    const rest = this.#data.getUint16(STATUS, true) & ~flag;
    this.#data.setUint16(STATUS, on ? rest | flag : rest, true);
  }
}
