import { GuestMemory, RamBlock } from "@baton/memory";
import {
  type Chain,
  createQueue,
  type QueueFeatures,
  type QueueState,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  type VirtQueue,
} from "../../src/index.js";
import { Driver, type Part } from "./driver.js";

/** Where the queue, its tables and its buffers stand: 1 MiB of RAM from 0x10_0000 on. */
export const BASE = 0x10_0000;
export const RAM = 0x10_0000;
const TABLES = BASE + 0x2_0000;
const BUFFERS = BASE + 0x8_0000;
/** Bytes of a buffer's slot. */
const SLOT = 0x400;

/** Feature bits. */
export function bits({ packed, indirect, eventIndex, inOrder }: QueueFeatures): bigint {
  const bit = (on: boolean, n: number) => (on ? 1n << BigInt(n) : 0n);
  return (
    bit(packed, VIRTIO_F_RING_PACKED) |
    bit(indirect, VIRTIO_F_INDIRECT_DESC) |
    bit(eventIndex, VIRTIO_F_EVENT_IDX) |
    bit(inOrder, VIRTIO_F_IN_ORDER)
  );
}

/** Features, all off but those given. */
export const features = (on: Partial<QueueFeatures> = {}): QueueFeatures => ({
  packed: false,
  indirect: false,
  eventIndex: false,
  inOrder: false,
  ...on,
});

/** RAM for tests. */
export function ram(): { block: RamBlock; memory: GuestMemory; [Symbol.dispose](): void } {
  const block = RamBlock.create({ id: "ram", size: BigInt(RAM) });
  const memory = GuestMemory.create([{ gpa: BigInt(BASE), block }]);
  return {
    block,
    memory,
    [Symbol.dispose]() {
      memory.close();
      block.close();
    },
  };
}

/** A buffer that the driver waits for. */
interface Pending {
  readonly token: number;
  readonly parts: readonly Part[];
}

/** The byte that the device writes at a place of a buffer. */
const pattern = (token: number, at: number) => (token * 31 + at * 7 + 1) & 0xff;

/** A driver and a device on one queue, each asleep until it is told; every buffer is checked when it comes back. */
export class World {
  readonly driver: Driver;
  queue: VirtQueue;
  readonly held: Chain[] = [];
  /** What the device told of each buffer that it has pushed. */
  readonly #told = new Map<number, number>();
  readonly #pending = new Map<number, Pending>();
  readonly #order: number[] = [];
  readonly #memory: GuestMemory;
  readonly #features: QueueFeatures;
  readonly #slots: number[];
  #tokens = 0;
  /** Whether the last of `held` is what was popped last. */
  #latest = false;
  deviceAwake = false;
  driverAwake = false;
  /** Counts, to show that a run met what it is about. */
  readonly counts = { done: 0, kicks: 0, quietAdds: 0, interrupts: 0, quietPushes: 0 };

  constructor(memory: GuestMemory, on: QueueFeatures, size: number, start = 0) {
    this.#memory = memory;
    this.#features = on;
    this.driver = new Driver(memory, on, BASE, size, TABLES, start);
    this.#slots = Array.from({ length: size }, (_, i) => i);
    this.queue = this.#make();
    this.queue.configure(this.driver.rings.layout);
    const state = this.queue.save();
    if (state.kind === "split") this.queue.load({ ...state, lastAvail: start, lastUsed: start });
    this.queue.setNotification(true);
    this.driver.rings.setInterrupts(true);
  }

  #make(): VirtQueue {
    return createQueue({ index: 3, memory: this.#memory, features: bits(this.#features) });
  }

  get outstanding(): number {
    return this.#pending.size;
  }

  /** The driver adds buffers of the given cuts (bytes of readable and of writable parts) and publishes them at once. */
  submit(shapes: readonly { readable: readonly number[]; writable: readonly number[]; indirect: boolean }[]): void {
    let added = 0;
    for (const { readable, writable, indirect } of shapes) {
      const slot = this.#slots[0];
      if (slot === undefined) break;
      const token = this.#tokens;
      let at = BUFFERS + slot * SLOT;
      const parts: Part[] = [];
      for (const length of readable.length + writable.length > 0 ? readable : [4]) {
        parts.push({ gpa: at, length, writable: false });
        this.#memory.write(
          at,
          Uint8Array.from({ length }, (_, i) => (token + at + i) & 0xff),
        );
        at += length;
      }
      for (const length of writable) {
        parts.push({ gpa: at, length, writable: true });
        this.#memory.fill(at, length, 0);
        at += length;
      }
      const id = this.driver.add(parts, indirect && this.#features.indirect ? slot : undefined);
      if (id === null) break;
      this.#tokens++;
      this.#slots.shift();
      if (this.#pending.has(id)) throw new Error(`id ${id} twice`);
      this.#pending.set(id, { token, parts });
      this.#order.push(id);
      added++;
    }
    if (added === 0) return;
    if (this.driver.rings.publish()) {
      this.deviceAwake = true;
      this.counts.kicks++;
    } else this.counts.quietAdds++;
  }

  /** The device takes up to `count` buffers, or falls asleep. */
  pop(count: number): void {
    for (let i = 0; i < count && this.deviceAwake; i++) {
      this.queue.setNotification(false);
      const chain = this.queue.pop();
      if (chain) this.#check(chain);
      else this.deviceAwake = this.queue.setNotification(true);
    }
  }

  #check(chain: Chain): void {
    const { token, parts } = this.#pending.get(chain.id) as Pending;
    const plain = ({ gpa, length }: { gpa: number; length: number }) => ({ gpa, length });
    const wanted = (writable: boolean) => parts.filter((part) => part.writable === writable).map(plain);
    const got = JSON.stringify([chain.readable.map(plain), chain.writable.map(plain)]);
    const want = JSON.stringify([wanted(false), wanted(true)]);
    if (got !== want) throw new Error(`popped ${got}, not ${want}`);
    const bytes = new Uint8Array(chain.readableLength);
    if (chain.read(bytes) !== bytes.length) throw new Error("short read");
    let at = 0;
    for (const part of wanted(false)) {
      for (let i = 0; i < part.length; i++, at++) {
        if (bytes[at] !== ((token + part.gpa + i) & 0xff)) throw new Error(`wrong byte ${at} of ${token}`);
      }
    }
    this.held.push(chain);
    this.#latest = true;
  }

  /** The device uses some of what it holds, in any order, and then looks whether to interrupt. */
  push(picks: readonly number[]): void {
    let completed = 0;
    for (const pick of picks) {
      if (this.held.length === 0) break;
      const at = pick % this.held.length;
      if (at === this.held.length - 1) this.#latest = false;
      const [chain] = this.held.splice(at, 1) as [Chain];
      const written = chain.writableLength === 0 ? 0 : (pick * 13) % (chain.writableLength + 1);
      const { token } = this.#pending.get(chain.id) as Pending;
      const bytes = Uint8Array.from({ length: written }, (_, i) => pattern(token, i));
      if (pick % 2 === 0) chain.write(bytes);
      else {
        let done = 0;
        for (const slice of chain.writableSlices(0, written)) {
          slice.set(bytes.subarray(done, done + slice.length));
          done += slice.length;
        }
      }
      this.#told.set(token, written);
      this.queue.complete(chain, written);
      completed++;
    }
    if (completed === 0) return;
    this.queue.publishDone();
    if (this.queue.needsNotification()) {
      this.driverAwake = true;
      this.counts.interrupts++;
    } else this.counts.quietPushes++;
  }

  /** The device gives back what it took last, and knows that it did: no notification will come of it. */
  unpop(): void {
    const chain = this.held[this.held.length - 1];
    if (!chain || !this.#latest) return;
    this.queue.unpop(chain);
    this.held.pop();
    this.#latest = false;
    this.deviceAwake = true;
  }

  /** The driver takes up to `count` used buffers, or falls asleep. */
  reap(count: number): void {
    for (let i = 0; i < count && this.driverAwake; i++) {
      this.driver.rings.setInterrupts(false);
      const used = this.driver.rings.take();
      if (!used) this.driverAwake = this.driver.rings.setInterrupts(true);
      else this.#reaped(used.id, used.length);
    }
  }

  #reaped(id: number, length: number): void {
    const pending = this.#pending.get(id);
    if (!pending) throw new Error(`${id} came back and was not out`);
    const { token, parts } = pending;
    if (this.#told.get(token) !== length) throw new Error(`${length} bytes of ${token}, not ${this.#told.get(token)}`);
    if (this.#features.inOrder && this.#order[0] !== id) throw new Error(`${id} before ${this.#order[0]}`);
    this.#order.splice(this.#order.indexOf(id), 1);
    let at = 0;
    for (const part of parts) {
      for (let i = 0; part.writable && i < part.length; i++, at++) {
        const want = at < length ? pattern(token, at) : 0;
        if (this.#memory.readU8(part.gpa + i) !== want) throw new Error(`byte ${at} of ${token} is not ${want}`);
      }
    }
    this.#told.delete(token);
    this.#pending.delete(id);
    this.#slots.push(Math.floor(((parts[0] as Part).gpa - BUFFERS) / SLOT));
    this.counts.done++;
  }

  /** The device is made again from what it saved. */
  saveLoad(): void {
    const state = structuredClone(this.queue.save()) as QueueState;
    const chains = structuredClone(this.held.map((chain) => chain.save()));
    this.queue = this.#make();
    this.queue.load(state);
    if (JSON.stringify(plain(this.queue.save())) !== JSON.stringify(plain(state))) throw new Error("another state");
    this.held.splice(0, this.held.length, ...chains.map((chain) => this.queue.restoreChain(chain)));
  }

  /** Both sides do what they have been told to until nothing is left to do. */
  settle(): void {
    for (let i = 0; i < 1_000_000 && (this.deviceAwake || this.driverAwake || this.held.length > 0); i++) {
      this.pop(1000);
      this.push(this.held.map((_, j) => j));
      this.reap(1000);
    }
    if (this.outstanding > 0) throw new Error(`${this.outstanding} buffers and both sides asleep`);
  }
}

const plain = (state: QueueState) => Object.entries(state).map(([key, value]) => [key, JSON.stringify(value, big)]);
const big = (_key: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);
