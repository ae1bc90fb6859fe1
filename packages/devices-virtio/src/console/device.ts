import { BatonError } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { hasBit } from "../device/features.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import {
  CONFIG_EMERGENCY_WRITE,
  CONSOLE_FEATURES,
  CONTROL_RECEIVE_QUEUE,
  CONTROL_TRANSMIT_QUEUE,
  consoleConfig,
  consoleQueues,
  portQueues,
  setConsoleSize,
  VIRTIO_CONSOLE_F_MULTIPORT,
} from "./config.js";
import {
  CONSOLE_PORT,
  CONTROL_BYTES,
  type ControlMessage,
  ControlOutbox,
  DEVICE_ADD,
  DEVICE_READY,
  encodeControl,
  PORT_NAME,
  PORT_OPEN,
  PORT_READY,
  parseControl,
  RESIZE,
} from "./control.js";
import { OpenReports } from "./open-reports.js";
import { ConsolePort, type ConsolePortInfo, type ConsolePortOptions } from "./port.js";
import { type ConsolePortState, type ConsoleState, loadConsoleState } from "./state.js";

/** Which field comes first in a `RESIZE` message. */
export type ResizeOrder = "rows-first" | "columns-first";

/** What the device's half in its thread is made with. */
export interface ConsoleDeviceOptions {
  readonly ports: readonly ConsolePortOptions[];
  /** Places for ports, which says how many queues there are. */
  readonly maxPorts: number;
  readonly resizeOrder: ResizeOrder;
}

/** Control messages served before other devices have their turn. */
const BUDGET = 64;
const DATA_QUEUE_SIZE = 128;
const CONTROL_QUEUE_SIZE = 32;

/** A console (virtio 1.2, 5.3): ports that carry bytes, and messages about them. */
export class ConsoleDevice implements VirtioDevice {
  readonly deviceId = 3;
  readonly features = CONSOLE_FEATURES;
  readonly queueSizes: readonly number[];
  readonly workQueues: readonly number[];
  readonly config: Uint8Array;
  readonly #context: VirtioDeviceContext;
  readonly #resizeOrder: ResizeOrder;
  readonly #ports: readonly ConsolePort[];
  /** By queue. */
  readonly #receivers = new Map<number, ConsolePort>();
  readonly #transmitters = new Map<number, ConsolePort>();
  readonly #outbox = new ControlOutbox();
  readonly #reports: OpenReports;
  #control: VirtQueue | undefined;
  #multiport = false;
  #quiesced = false;

  constructor(context: VirtioDeviceContext, options: ConsoleDeviceOptions) {
    this.#context = context;
    this.#resizeOrder = options.resizeOrder;
    this.#reports = new OpenReports(context);
    this.config = consoleConfig(options.maxPorts);
    this.queueSizes = Array.from({ length: consoleQueues(options.maxPorts) }, (_, index) =>
      index === CONTROL_RECEIVE_QUEUE || index === CONTROL_TRANSMIT_QUEUE ? CONTROL_QUEUE_SIZE : DATA_QUEUE_SIZE,
    );
    this.#ports = options.ports.map((options) => {
      const port: ConsolePort = new ConsolePort(context, options, (connected) => this.#onConnection(port, connected));
      const { receive, transmit } = portQueues(options.nr);
      this.#receivers.set(receive, port);
      this.#transmitters.set(transmit, port);
      return port;
    });
    this.workQueues = [CONTROL_TRANSMIT_QUEUE, ...this.#transmitters.keys()];
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    // 5.3.5.1: a character for port 0 before there is a driver.
    if (offset === CONFIG_EMERGENCY_WRITE) this.#first?.channel.write(bytes.slice(0, 1));
  }

  start({ features, queues }: DriverReady): void {
    this.#multiport = hasBit(features, VIRTIO_CONSOLE_F_MULTIPORT);
    this.#control = this.#multiport ? queues[CONTROL_RECEIVE_QUEUE] : undefined;
    for (const port of this.#ports) {
      const { nr } = port.options;
      if (!this.#multiport && nr !== 0) continue;
      // Without messages nobody says that it is open.
      if (!this.#multiport) port.open = true;
      const { receive, transmit } = portQueues(nr);
      port.start(queues[receive], queues[transmit]);
    }
  }

  notify(queue: VirtQueue): boolean {
    const { index } = queue;
    // Without messages there is no other port; what the driver puts there stays.
    if (!this.#multiport && index > 1) return false;
    if (index === CONTROL_TRANSMIT_QUEUE) return this.#hear(queue);
    if (index === CONTROL_RECEIVE_QUEUE) this.#flush();
    this.#receivers.get(index)?.supply();
    return this.#transmitters.get(index)?.transmit(queue) ?? true;
  }

  reset(): void {
    for (const port of this.#ports) {
      if (port.open && this.#multiport && !this.#quiesced) this.#reports.report(port.options.id, false);
      port.reset();
    }
    this.#outbox.clear();
    this.#control = undefined;
    this.#multiport = false;
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#reports.flush();
    for (const port of this.#ports) port.channel.quiesce();
  }

  resume(): void {
    this.#quiesced = false;
    for (const port of this.#ports) {
      port.channel.resume();
      // Who is there may be others than at the save.
      this.#tellConnection(port);
    }
  }

  save(): ConsoleState {
    return {
      ports: this.#ports.map((port) => port.save()),
      outbox: this.#outbox.messages.map((message) => ({ ...message })),
    };
  }

  load(state: unknown): void {
    const numbers = this.#ports.map(({ options }) => options.nr);
    const loaded = loadConsoleState(this.#context.id, state, numbers);
    for (const [i, port] of this.#ports.entries()) port.load(loaded.ports[i] as ConsolePortState);
    this.#outbox.clear();
    for (const message of loaded.outbox) this.#outbox.add(message);
    if (this.#first) setConsoleSize(this.config, this.#first.columns, this.#first.rows);
  }

  command(name: string, args: unknown): unknown {
    if (name === "ports") return this.#ports.map((port): ConsolePortInfo => port.info);
    if (name === "resize") {
      this.#resize(args as { readonly port?: string; readonly columns: number; readonly rows: number });
      return null;
    }
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a console has no command '${name}'`);
  }

  close(): void {
    for (const port of this.#ports) port.channel.close();
    this.#reports.close();
  }

  /** Port 0, where there is one. */
  get #first(): ConsolePort | undefined {
    return this.#ports.find(({ options }) => options.nr === 0);
  }

  #resize({ port: id, columns, rows }: { readonly port?: string; readonly columns: number; readonly rows: number }) {
    const port = id === undefined ? this.#first : this.#ports.find(({ options }) => options.id === id);
    if (port === undefined || !port.options.console) {
      throw new BatonError("PORT_NOT_FOUND", `${this.#context.id}: there is no console '${id ?? "with number 0"}'`);
    }
    for (const size of [columns, rows]) {
      if (Number.isInteger(size) && size >= 0 && size <= 0xffff) continue;
      throw new BatonError("INVALID_ARGUMENT", `${this.#context.id}: a console's size is 0 to 65535, not ${size}`);
    }
    port.columns = columns;
    port.rows = rows;
    if (port === this.#first) {
      setConsoleSize(this.config, columns, rows);
      if (!this.#multiport) this.#context.configChanged();
    }
    if (port.ready) this.#send(port, RESIZE);
    this.#flush();
  }

  /** Messages from the driver. */
  #hear(queue: VirtQueue): boolean {
    let all = false;
    const bytes = new Uint8Array(CONTROL_BYTES);
    for (let budget = BUDGET; budget > 0 && !all; budget--) {
      const chain = queue.pop();
      all = chain === null;
      if (chain === null) break;
      // What is too short says nothing.
      if (chain.read(bytes) === CONTROL_BYTES) this.#obey(parseControl(bytes));
      queue.push(chain, 0);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    this.#flush();
    if (!all) this.#context.again(queue.index);
    return all;
  }

  /** Does as a message says; those about ports that there are not, and of kinds that only devices send, mean nothing. */
  #obey({ port: nr, event, value }: ControlMessage): void {
    if (event === DEVICE_READY) {
      if (value === 1) for (const port of this.#ports) this.#send(port, DEVICE_ADD);
      return;
    }
    const port = this.#ports.find(({ options }) => options.nr === nr);
    if (port === undefined) return;
    if (event === PORT_READY) this.#introduce(port, value === 1);
    else if (event === PORT_OPEN && port.open !== (value === 1)) {
      port.open = value === 1;
      this.#reports.report(port.options.id, port.open);
      port.admitInput();
    }
  }

  /** The driver has a port, or could not make one. */
  #introduce(port: ConsolePort, ready: boolean): void {
    port.ready = ready;
    if (!ready) return;
    if (port.options.console) this.#send(port, CONSOLE_PORT, 1);
    if (port.options.console && port.columns > 0) this.#send(port, RESIZE);
    if (port.options.name !== "") this.#send(port, PORT_NAME, 1);
    port.told = false;
    this.#tellConnection(port);
  }

  #onConnection(port: ConsolePort, connected: boolean): void {
    this.#context.emit({ name: connected ? "connected" : "disconnected", data: { port: port.options.id } });
    if (!this.#quiesced) this.#tellConnection(port, connected);
  }

  /** Tells the driver who is at the other side of a port, unless it knows. */
  #tellConnection(port: ConsolePort, connected = port.channel.connected): void {
    if (!port.ready || port.told === connected) return;
    port.told = connected;
    this.#send(port, PORT_OPEN, connected ? 1 : 0);
    this.#flush();
  }

  #send(port: ConsolePort, event: number, value = 0): void {
    this.#outbox.add({ port: port.options.nr, event, value });
  }

  /** Hands messages to the driver as far as it has given buffers; the others wait. */
  #flush(): void {
    const queue = this.#control;
    if (queue === undefined || !queue.ready || this.#quiesced) return;
    for (let message = this.#outbox.next; message !== undefined; message = this.#outbox.next) {
      const chain = queue.pop();
      if (chain === null) break;
      if (chain.writableLength < CONTROL_BYTES) {
        throw new QueueError(queue.index, "request", chain.id, "a buffer for messages is too short for one");
      }
      const written = chain.write(encodeControl(message, this.#payload(message)));
      this.#outbox.shift();
      queue.push(chain, written);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
  }

  #payload({ port: nr, event }: ControlMessage): Uint8Array {
    const port = this.#ports.find(({ options }) => options.nr === nr);
    if (event === PORT_NAME) return Buffer.from(port?.options.name ?? "");
    if (event !== RESIZE || port === undefined) return new Uint8Array(0);
    const { columns, rows } = port;
    const [first, second] = this.#resizeOrder === "rows-first" ? [rows, columns] : [columns, rows];
    return Uint8Array.of(first & 0xff, first >> 8, second & 0xff, second >> 8);
  }
}

/** The factory that the device's service calls. */
export function createConsoleDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new ConsoleDevice(context, options as ConsoleDeviceOptions);
}
