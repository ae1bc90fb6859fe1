import { CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE, consoleQueues, portQueues } from "../../src/console/config.js";
import { type ControlMessage, encodeControl, PORT_OPEN, PORT_READY, parseControl } from "../../src/console/control.js";
import type { ConsoleDeviceOptions } from "../../src/console/device.js";
import type { QueueFeatures, VirtioState } from "../../src/index.js";
import { BENCH_BUFFERS, MmioBench } from "./mmio-bench.js";

/** Bytes of memory for each queue's buffers. */
const AREA = 0x20_0000;
/** Descriptors of a queue. */
const SIZE = 16;

/** A message as the driver gets it. */
export interface Heard extends ControlMessage {
  readonly payload: Buffer;
}

/** A console device with the driver of a guest beside it. */
export class ConsoleGuest {
  bench: MmioBench;
  readonly #queues: number;
  readonly #slots = new Map<number, Map<number, number>>();

  private constructor(bench: MmioBench, queues: number) {
    this.bench = bench;
    this.#queues = queues;
  }

  /** A device whose driver is up, with buffers for messages unless `mute`. */
  static async start(
    options: ConsoleDeviceOptions,
    rings: QueueFeatures,
    { features = 7n, mute = false } = {},
  ): Promise<ConsoleGuest> {
    const queues = consoleQueues(options.maxPorts);
    const module = new URL("../../src/console/device.ts", import.meta.url).href;
    const bench = await MmioBench.make({ module, factory: "createConsoleDevice", options, queues });
    const guest = new ConsoleGuest(bench, queues);
    guest.up(rings, features);
    if ((features & 2n) !== 0n && !mute) guest.supply(CONTROL_RECEIVE_QUEUE, SIZE, 512);
    return guest;
  }

  up(rings: QueueFeatures, features = 7n): void {
    this.#slots.clear();
    this.bench.start(
      features,
      rings,
      Array.from({ length: this.#queues }, (_, i) => i),
      SIZE,
    );
  }

  /** Adds a buffer of one piece; false where there is no room. */
  add(queue: number, length: number, bytes?: Uint8Array): boolean {
    const slots = this.#slots.get(queue) ?? new Map<number, number>();
    this.#slots.set(queue, slots);
    const taken = new Set(slots.values());
    const slot = Array.from({ length: SIZE }, (_, i) => i).find((i) => !taken.has(i));
    if (slot === undefined) return false;
    const gpa = BENCH_BUFFERS + queue * AREA + slot * (AREA / SIZE);
    if (bytes) this.bench.memory.write(gpa, bytes);
    const id = this.bench.drivers[queue]?.add([{ gpa, length, writable: bytes === undefined }]);
    if (id === null || id === undefined) return false;
    slots.set(id, slot);
    return true;
  }

  /** Gives buffers to be filled. */
  supply(queue: number, count: number, length: number): void {
    for (let i = 0; i < count && this.add(queue, length); i++);
    this.bench.kick(queue);
  }

  /** Sends bytes in one buffer; false where there is no room. */
  send(queue: number, bytes: Uint8Array): boolean {
    const added = this.add(queue, bytes.length, bytes);
    if (added) this.bench.kick(queue);
    return added;
  }

  /** Takes what the device has used: the bytes that it wrote into each. */
  take(queue: number): Buffer[] {
    const found: Buffer[] = [];
    const slots = this.#slots.get(queue);
    for (;;) {
      const used = this.bench.drivers[queue]?.rings.take();
      if (!used) return found;
      const slot = slots?.get(used.id) as number;
      slots?.delete(used.id);
      const bytes = Buffer.alloc(used.length);
      this.bench.memory.read(BENCH_BUFFERS + queue * AREA + slot * (AREA / SIZE), bytes);
      found.push(bytes);
    }
  }

  say(port: number, event: number, value: number): void {
    this.send(CONTROL_TRANSMIT_QUEUE, encodeControl({ port, event, value }, new Uint8Array(0)));
    this.bench.settle();
    this.take(CONTROL_TRANSMIT_QUEUE);
  }

  /** The messages since the last call; their buffers go back. */
  hear(): Heard[] {
    const messages = this.take(CONTROL_RECEIVE_QUEUE);
    this.supply(CONTROL_RECEIVE_QUEUE, messages.length, 512);
    this.bench.settle();
    return messages.map((bytes) => ({ ...parseControl(bytes), payload: bytes.subarray(8) }));
  }

  /** Introduces a port as drivers do, and opens it. */
  open(nr: number, { open = true } = {}): Heard[] {
    this.say(nr, PORT_READY, 1);
    const heard = this.hear();
    if (open) this.say(nr, PORT_OPEN, 1);
    return heard;
  }

  /** Turns until the condition holds. */
  until<T>(condition: () => T, what: string, timeoutMs = 5000): NonNullable<T> {
    for (const end = performance.now() + timeoutMs; ; ) {
      const found = condition();
      if (found) return found;
      if (performance.now() > end) throw new Error(`${what} did not come`);
      this.bench.turn(10);
    }
  }

  /** The device is made anew from its state, on the same RAM. */
  async move(change: (state: VirtioState) => VirtioState = (state) => state): Promise<void> {
    this.bench = await this.bench.moved(change(this.bench.save()));
    this.bench.call("resume");
  }

  [Symbol.dispose](): void {
    this.bench.close();
  }
}

export const receiveQueue = (nr: number): number => portQueues(nr).receive;
export const transmitQueue = (nr: number): number => portQueues(nr).transmit;
