import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { connect, type Fd, tryRead, tryRecv } from "@baton/linux";
import { CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE, consoleQueues, portQueues } from "../../src/console/config.js";
import { type ControlMessage, encodeControl, PORT_OPEN, PORT_READY, parseControl } from "../../src/console/control.js";
import type { ConsoleDeviceOptions } from "../../src/console/device.js";
import type { ConsolePortOptions } from "../../src/console/port.js";
import {
  type ChardevBackend,
  type CharEndpoint,
  type OpenedChardev,
  openChardev,
  type QueueFeatures,
} from "../../src/index.js";
import { BenchGuest } from "./bench-guest.js";
import { BENCH_BUFFERS, MmioBench } from "./mmio-bench.js";
import { features } from "./world.js";

/** Bytes of memory for each queue's buffers. */
const AREA = 0x20_0000;
/** Descriptors of a queue. */
const SIZE = 16;

/** A message as the driver gets it. */
export interface Heard extends ControlMessage {
  readonly payload: Buffer;
}

/** A console device with the driver of a guest beside it. */
export class ConsoleGuest extends BenchGuest {
  readonly #queues: number;
  readonly #slots = new Map<number, Map<number, number>>();

  private constructor(bench: MmioBench, queues: number) {
    super(bench);
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
}

export const receiveQueue = (nr: number): number => portQueues(nr).receive;
export const transmitQueue = (nr: number): number => portQueues(nr).transmit;

/** Kinds of rings, each with its name. */
export const consoleRings = [
  ["split", features({ indirect: true, eventIndex: true })],
  ["packed", features({ packed: true, eventIndex: true })],
  ["split without event index", features()],
] as const;

/** A port; number 0 is a console. */
export function consolePort(
  nr: number,
  endpoint: CharEndpoint,
  more: Partial<ConsolePortOptions> = {},
): ConsolePortOptions {
  return {
    ...{ id: `p${nr}`, nr, name: nr === 0 ? "" : `port.${nr}`, console: nr === 0, label: "l", filename: "f" },
    endpoint,
    ...more,
  };
}

/** What a test opens; `close` ends all of it, for `afterEach`. */
export function consoleWorld() {
  const closing: (() => void)[] = [];
  let directory: string | undefined;
  let files = 0;
  const keep = <T extends { close(): void }>(thing: T): T => {
    closing.push(() => thing.close());
    return thing;
  };
  return {
    keep,
    /** A path that nothing stands at. */
    fresh(): string {
      directory ??= mkdtempSync("/tmp/console-");
      return join(directory, `f${files++}`);
    },
    chardev: (backend: ChardevBackend): OpenedChardev => keep(openChardev("c", backend)),
    client: (path: string): Fd => keep(connect({ kind: "unix", path }, { nonblock: true })),
    async guestWith(
      ports: readonly ConsolePortOptions[],
      kind: QueueFeatures = consoleRings[0][1],
      more: Parameters<typeof ConsoleGuest.start>[2] = {},
    ): Promise<ConsoleGuest> {
      const maxPorts = Math.max(...ports.map(({ nr }) => nr)) + 1;
      const guest = await ConsoleGuest.start({ ports, maxPorts, resizeOrder: "columns-first" }, kind, more);
      closing.push(() => guest[Symbol.dispose]());
      return guest;
    },
    close(): void {
      for (const end of closing.splice(0).reverse()) end();
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
      directory = undefined;
    },
  };
}

/** Messages as lists, for comparing. */
export function plain(messages: readonly Heard[]): readonly (readonly [number, number, number, string])[] {
  return messages.map(({ port, event, value, payload }) => [port, event, value, payload.toString("latin1")]);
}

/** What the device told the embedder. */
export function eventsOf(guest: ConsoleGuest): string[] {
  return guest.bench.events.map(({ name, data }) => `${name} ${JSON.stringify(data)}`);
}

/** What a port has received. */
export function inputOf(guest: ConsoleGuest, nr: number): string {
  return Buffer.concat(guest.take(receiveQueue(nr))).toString("latin1");
}

/** What a peer has been sent. */
export function drained(fd: Fd): Buffer {
  const found: Buffer[] = [];
  const buffer = Buffer.alloc(1 << 16);
  for (let count = tryRead(fd.raw, buffer); count > 0; count = tryRead(fd.raw, buffer)) {
    found.push(Buffer.from(buffer.subarray(0, count)));
  }
  return Buffer.concat(found);
}

/** Whether the other side has ended a connection. */
export function ended(fd: Fd): boolean {
  return tryRecv(fd.raw, new Uint8Array(1)) === 0;
}
