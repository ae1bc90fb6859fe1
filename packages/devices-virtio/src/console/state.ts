import { StateReader } from "../device/state.js";
import { CONSOLE_MAX_PORTS } from "./config.js";
import type { ControlMessage } from "./control.js";

/** A port as plain data. */
export interface ConsolePortState {
  readonly nr: number;
  /** The driver takes messages about it. */
  readonly ready: boolean;
  /** A program in the guest has it open. */
  readonly open: boolean;
  /** Whether the driver was told that somebody is at the other side. */
  readonly told: boolean;
  readonly columns: number;
  readonly rows: number;
  /** Bytes of the driver's next buffer that have been written already. */
  readonly offset: number;
}

/** What the device saves: bytes are in the rings or with the peers, names and kinds in the configuration. */
export interface ConsoleState {
  readonly ports: readonly ConsolePortState[];
  /** Messages that the driver has given no buffers for yet. */
  readonly outbox: readonly ControlMessage[];
}

/** The most bytes of a buffer: a queue's descriptors of 32 bits each (virtio 1.2, 2.7.5). */
const MAX_OFFSET = 32768 * 0xffff_ffff;
/** As many messages as can wait: see the outbox. */
const MAX_MESSAGES = CONSOLE_MAX_PORTS * 6;

/** Reads a state for a device with ports of these numbers. Throws `DEVICE_STATE`. */
export function loadConsoleState(device: string, state: unknown, numbers: readonly number[]): ConsoleState {
  const reader = new StateReader(device, state, "device");
  const ports = reader.list("ports", CONSOLE_MAX_PORTS, (element, path) =>
    readPort(new StateReader(device, element, path)),
  );
  const found = ports.map(({ nr }) => nr).join(", ");
  if (found !== numbers.join(", ")) {
    throw reader.error("ports", `the state has ports [${found}], this device has [${numbers.join(", ")}]`);
  }
  const outbox = reader.list("outbox", MAX_MESSAGES, (element, path): ControlMessage => {
    const message = new StateReader(device, element, path);
    const port = message.integer("port", 0, CONSOLE_MAX_PORTS - 1);
    if (!numbers.includes(port)) throw message.error("port", `there is no port ${port}`);
    return { port, event: message.integer("event", 0, 7), value: message.integer("value", 0, 1) };
  });
  return { ports, outbox };
}

function readPort(port: StateReader): ConsolePortState {
  return {
    nr: port.integer("nr", 0, CONSOLE_MAX_PORTS - 1),
    ready: port.boolean("ready"),
    open: port.boolean("open"),
    told: port.boolean("told"),
    columns: port.integer("columns", 0, 0xffff),
    rows: port.integer("rows", 0, 0xffff),
    offset: port.integer("offset", 0, MAX_OFFSET),
  };
}
