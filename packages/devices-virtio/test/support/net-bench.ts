import { type Fd, socketpair } from "@baton/linux";
import type { QueueFeatures, VirtioState } from "../../src/index.js";
import type { NetDeviceOptions } from "../../src/net/options.js";
import type { Part } from "./driver.js";
import { BENCH_BUFFERS, type MmioBench, type MmioBenchOptions } from "./mmio-bench.js";

const MODULE = new URL("../../src/devices.ts", import.meta.url).href;
/** Bytes of each received or transmitted packet's place. */
const SLOT = 0x1_2000;
const HEADER = 12;

/** Options of a device on these descriptors. */
export function netOptions(fds: readonly number[], changes: Partial<NetDeviceOptions> = {}): NetDeviceOptions {
  return {
    fds,
    tap: false,
    interface: "",
    mac: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3),
    macGiven: true,
    mtu: 0,
    queueSize: 256,
    linkUp: true,
    vhost: null,
    limits: {},
    ...changes,
  };
}

/** What a bench of a device takes. */
export function netBenchOptions(options: NetDeviceOptions): MmioBenchOptions {
  return { module: MODULE, factory: "createNetDevice", options, queues: 2 * options.fds.length + 1 };
}

/** Sockets of packets: the device's end and the network's. */
export function packetPair(): [Fd, Fd] {
  return socketpair({ packets: true, nonblock: true });
}

/** A frame of `length` bytes that tells itself from others. */
export function frame(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i < 12 ? 0x02 : (seed * 31 + i * 7) & 0xff));
}

/** A frame with a header of zeros in front, as a host sends it. */
export function packet(bytes: Uint8Array, header: Uint8Array = new Uint8Array(HEADER)): Uint8Array {
  return new Uint8Array(Buffer.concat([header, bytes]));
}

/** A received packet. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly numBuffers: number;
}

/** The driver of a network device: buffers go in, packets come out. */
export class NetDriver {
  bench: MmioBench;
  readonly #outstanding = new Map<number, readonly Part[]>();
  readonly #transmitting = new Set<number>();
  readonly #rx: number;
  readonly #tx: number;
  #next = BENCH_BUFFERS;

  constructor(bench: MmioBench, pair = 0) {
    this.bench = bench;
    this.#rx = 2 * pair;
    this.#tx = 2 * pair + 1;
  }

  #place(length: number): number {
    if (this.#next + SLOT > BENCH_BUFFERS + 0x200_0000) this.#next = BENCH_BUFFERS;
    const at = this.#next;
    this.#next += Math.max(SLOT / 16, Math.ceil(length / 4096) * 4096);
    return at;
  }

  /** Offers buffers of these lengths to receive in, and rings. Each is cut in two where it is long. */
  offer(...lengths: number[]): void {
    const { rings } = this.bench.drivers[this.#rx] as { rings: { publish(): boolean } };
    for (const length of lengths) {
      const gpa = this.#place(length);
      const parts =
        length > 100
          ? [
              { gpa, length: 50, writable: true },
              { gpa: gpa + 64, length: length - 50, writable: true },
            ]
          : [{ gpa, length, writable: true }];
      const id = this.bench.drivers[this.#rx]?.add(parts);
      if (id === null || id === undefined) throw new Error("the ring is full");
      this.#outstanding.set(id, parts);
    }
    if (rings.publish()) this.bench.write(0x50, this.#rx);
  }

  /** Takes the next received packet: all of its buffers. */
  take(): Received | null {
    const rings = this.bench.drivers[this.#rx]?.rings;
    const chunks: Uint8Array[] = [];
    let left = 1;
    let numBuffers = 0;
    while (left > 0) {
      const used = rings?.take();
      if (!used) {
        if (numBuffers > 0) throw new Error(`${left} of ${numBuffers} buffers are missing`);
        return null;
      }
      const parts = this.#outstanding.get(used.id) as readonly Part[];
      this.#outstanding.delete(used.id);
      const bytes = Buffer.concat(parts.map(({ gpa, length }) => this.bench.memory.read(gpa, length)));
      if (numBuffers === 0) {
        numBuffers = bytes.readUInt16LE(10);
        left = numBuffers;
      }
      chunks.push(bytes.subarray(0, used.length));
      left--;
    }
    return { bytes: new Uint8Array(Buffer.concat(chunks).subarray(HEADER)), numBuffers };
  }

  /** All packets that have come. */
  takeAll(): Received[] {
    const all: Received[] = [];
    for (let one = this.take(); one; one = this.take()) all.push(one);
    return all;
  }

  /** Puts a packet of given bytes, header included, into the transmit queue without ringing. */
  queue(bytes: Uint8Array, cuts: readonly number[] = [HEADER]): void {
    const gpa = this.#place(bytes.length);
    this.bench.memory.write(gpa, bytes);
    const edges = [0, ...cuts.filter((cut) => cut < bytes.length), bytes.length];
    const parts = edges.slice(1).map((end, i) => {
      const start = edges[i] as number;
      return { gpa: gpa + start, length: end - start, writable: false };
    });
    const id = this.bench.drivers[this.#tx]?.add(parts);
    if (id === null || id === undefined) throw new Error("the ring is full");
    this.#transmitting.add(id);
  }

  /** Transmits a frame, header in front. */
  send(bytes: Uint8Array): void {
    this.queue(packet(bytes));
    this.bench.kick(this.#tx);
  }

  /** Rings for what was queued. */
  flush(): void {
    this.bench.kick(this.#tx);
  }

  /** Takes back what was transmitted; how many. */
  reap(): number {
    let count = 0;
    for (
      let used = this.bench.drivers[this.#tx]?.rings.take();
      used;
      used = this.bench.drivers[this.#tx]?.rings.take()
    ) {
      if (!this.#transmitting.delete(used.id)) throw new Error(`${used.id} was not transmitted`);
      if (used.length !== 0) throw new Error("a transmitted buffer was written to");
      count++;
    }
    return count;
  }

  /** Sends a control command on a queue; its answer. */
  control(queue: number, bytes: Uint8Array): number {
    const gpa = this.#place(bytes.length + 1);
    this.bench.memory.write(gpa, bytes);
    this.bench.memory.writeU8(gpa + bytes.length, 0xee);
    const driver = this.bench.drivers[queue];
    driver?.add([
      { gpa, length: bytes.length, writable: false },
      { gpa: gpa + bytes.length, length: 1, writable: true },
    ]);
    this.bench.kick(queue);
    this.bench.settle();
    driver?.rings.take();
    return this.bench.memory.readU8(gpa + bytes.length);
  }

  /** Goes on with a device that has taken over. */
  async move(state: VirtioState, changes: Partial<MmioBenchOptions> = {}): Promise<void> {
    this.bench = await this.bench.moved(state, changes);
  }
}

/** Every kind of ring that matters here. */
export const ringKinds: readonly QueueFeatures[] = [
  { packed: false, indirect: true, eventIndex: true, inOrder: false },
  { packed: true, indirect: true, eventIndex: true, inOrder: false },
  { packed: false, indirect: false, eventIndex: false, inOrder: false },
];
