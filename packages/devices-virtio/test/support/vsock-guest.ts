import type { QueueFeatures } from "../../src/index.js";
import {
  HOST_CID,
  parseVsockHeader,
  VIRTIO_VSOCK_TYPE_STREAM,
  VSOCK_HEADER_BYTES,
  type VsockHeader,
  vsockOp,
  writeVsockHeader,
} from "../../src/vsock/packet.js";
import { BenchGuest } from "./bench-guest.js";
import { BENCH_BUFFERS, MmioBench } from "./mmio-bench.js";

const MODULE = new URL("../../src/devices.ts", import.meta.url).href;
export const GUEST_CID = 3n;
/** What the guest says it can hold of each connection. */
export const GUEST_BUFFER = 256 * 1024;
const RX = 0;
const TX = 1;
/** Places for buffers to receive in, and for those to send, each of so many bytes. */
const RX_PLACES = 128;
const RX_BYTES = 0x1_0000;
const TX_PLACES = 32;
const TX_BYTES = 0x5_0000;
const TX_AREA = BENCH_BUFFERS + RX_PLACES * RX_BYTES;

/** A connection's ports. */
export interface Ports {
  readonly hostPort: number;
  readonly guestPort: number;
}

/** A packet as the guest gets it. */
export interface VsockPacket extends Ports, Omit<VsockHeader, "op"> {
  readonly op: keyof typeof vsockOp;
  readonly payload: Buffer;
}

/** What a packet has beside the usual. */
export interface SendOptions extends Partial<VsockHeader> {
  readonly payload?: Uint8Array;
}

/** A socket device with the driver of a guest beside it, which keeps count of the bytes that it has received. */
export class VsockGuest extends BenchGuest {
  /** Whether what was received counts as read by the guest's programs, and so as credit. */
  reads = true;
  readonly #received = new Map<string, number>();
  readonly #free: number[] = Array.from({ length: RX_PLACES }, (_, i) => RX_PLACES - 1 - i);
  readonly #offered = new Map<number, { readonly place: number; readonly length: number }>();
  #sends = 0;

  /** A device whose driver is up, with `buffers` to receive in. */
  static async start(
    options: { readonly listenFd: number; readonly path: string },
    rings: QueueFeatures,
    { buffers = 64 } = {},
  ): Promise<VsockGuest> {
    const device = { guestCid: GUEST_CID, ...options };
    const bench = await MmioBench.make({ module: MODULE, factory: "createVsockDevice", options: device, queues: 3 });
    const guest = new VsockGuest(bench);
    guest.up(rings);
    guest.supply(buffers);
    return guest;
  }

  up(rings: QueueFeatures): void {
    for (const { place } of this.#offered.values()) this.#free.push(place);
    this.#offered.clear();
    this.bench.start(0n, rings, [0, 1, 2], RX_PLACES);
  }

  /** Buffers that the device has. */
  get offered(): number {
    return this.#offered.size;
  }

  /** Gives buffers to receive in. */
  supply(count: number, length = 4096): void {
    for (let i = 0; i < count; i++) {
      const place = this.#free.pop();
      if (place === undefined) throw new Error("all buffers are given");
      const id = this.bench.drivers[RX]?.add([{ gpa: BENCH_BUFFERS + place * RX_BYTES, length, writable: true }]);
      if (id === null || id === undefined) throw new Error("the ring is full");
      this.#offered.set(id, { place, length });
    }
    this.bench.kick(RX);
  }

  /** Takes what the device has sent; the buffers stay with the guest. */
  take(): VsockPacket[] {
    const packets: VsockPacket[] = [];
    const rings = this.bench.drivers[RX]?.rings;
    for (let used = rings?.take(); used; used = rings?.take()) {
      const { place, length } = this.#offered.get(used.id) as { place: number; length: number };
      this.#offered.delete(used.id);
      this.#free.push(place);
      if (used.length > length) throw new Error(`${used.length} bytes are used of ${length}`);
      const bytes = Buffer.alloc(used.length);
      this.bench.memory.read(BENCH_BUFFERS + place * RX_BYTES, bytes);
      packets.push(this.#packet(bytes));
    }
    return packets;
  }

  #packet(bytes: Buffer): VsockPacket {
    const header = parseVsockHeader(bytes);
    const payload = bytes.subarray(VSOCK_HEADER_BYTES);
    if (header.length !== payload.length) throw new Error(`${payload.length} bytes, said to be ${header.length}`);
    if (header.srcCid !== BigInt(HOST_CID) || header.dstCid !== GUEST_CID)
      throw new Error("a packet for somebody else");
    const op = (Object.keys(vsockOp) as (keyof typeof vsockOp)[]).find((name) => vsockOp[name] === header.op);
    if (op === undefined) throw new Error(`a packet of kind ${header.op}`);
    const ports = { hostPort: header.srcPort, guestPort: header.dstPort };
    const key = keyOf(ports);
    if (this.reads) this.#received.set(key, ((this.#received.get(key) ?? 0) + payload.length) >>> 0);
    return { ...header, ...ports, op, payload };
  }

  /** What the device sends until it rests; as many buffers of the usual length go back. */
  hear(): VsockPacket[] {
    const all: VsockPacket[] = [];
    for (;;) {
      this.bench.settle();
      const packets = this.take();
      if (packets.length === 0) return all;
      all.push(...packets);
      this.supply(packets.length);
    }
  }

  /** Sends a packet, with the credit that the guest has. */
  send(ports: Ports, op: keyof typeof vsockOp, { payload = new Uint8Array(0), ...changes }: SendOptions = {}): void {
    const gpa = TX_AREA + (this.#sends++ % TX_PLACES) * TX_BYTES;
    const bytes = new Uint8Array(VSOCK_HEADER_BYTES + payload.length);
    if (bytes.length > TX_BYTES) throw new Error(`a packet of ${bytes.length} bytes`);
    writeVsockHeader(bytes, {
      srcCid: GUEST_CID,
      dstCid: BigInt(HOST_CID),
      srcPort: ports.guestPort,
      dstPort: ports.hostPort,
      length: payload.length,
      type: VIRTIO_VSOCK_TYPE_STREAM,
      op: vsockOp[op],
      flags: 0,
      bufAlloc: GUEST_BUFFER,
      fwdCnt: this.#received.get(keyOf(ports)) ?? 0,
      ...changes,
    });
    bytes.set(payload, VSOCK_HEADER_BYTES);
    this.bench.memory.write(gpa, bytes);
    const driver = this.bench.drivers[TX];
    while (driver?.rings.take());
    if (driver?.add([{ gpa, length: bytes.length, writable: false }]) == null) throw new Error("the ring is full");
    this.bench.kick(TX);
  }
}

function keyOf({ hostPort, guestPort }: Ports): string {
  return `${hostPort}:${guestPort}`;
}
