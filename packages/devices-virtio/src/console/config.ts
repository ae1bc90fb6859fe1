import { bit } from "../device/features.js";

/** Bit numbers of a console's features (virtio 1.2, 5.3.3). */
export const VIRTIO_CONSOLE_F_SIZE = 0;
export const VIRTIO_CONSOLE_F_MULTIPORT = 1;
export const VIRTIO_CONSOLE_F_EMERG_WRITE = 2;

/** What the device offers. */
export const CONSOLE_FEATURES =
  bit(VIRTIO_CONSOLE_F_SIZE) | bit(VIRTIO_CONSOLE_F_MULTIPORT) | bit(VIRTIO_CONSOLE_F_EMERG_WRITE);

/** The most ports. */
export const CONSOLE_MAX_PORTS = 31;

/** Queues that are no port's (5.3.2): messages to the driver and from it. */
export const CONTROL_RECEIVE_QUEUE = 2;
export const CONTROL_TRANSMIT_QUEUE = 3;

/** The queues of a port: what it sends to the driver, and what the driver sends to it (5.3.2). */
export function portQueues(nr: number): { readonly receive: number; readonly transmit: number } {
  const first = nr === 0 ? 0 : 2 * nr + 2;
  return { receive: first, transmit: first + 1 };
}

/** How many queues a device with places for so many ports has. */
export function consoleQueues(maxPorts: number): number {
  return 2 * maxPorts + 2;
}

/** Places in the configuration space (5.3.4): two fields of 16 bits, two of 32. */
const CONFIG_COLUMNS = 0;
const CONFIG_ROWS = 2;
const CONFIG_MAX_PORTS = 4;
export const CONFIG_EMERGENCY_WRITE = 8;
const CONFIG_BYTES = 12;

/** The configuration space of a device with places for so many ports. */
export function consoleConfig(maxPorts: number): Uint8Array {
  const config = new Uint8Array(CONFIG_BYTES);
  new DataView(config.buffer).setUint32(CONFIG_MAX_PORTS, maxPorts, true);
  return config;
}

/** Puts the size of port 0 into the configuration space. */
export function setConsoleSize(config: Uint8Array, columns: number, rows: number): void {
  const data = new DataView(config.buffer);
  data.setUint16(CONFIG_COLUMNS, columns, true);
  data.setUint16(CONFIG_ROWS, rows, true);
}
