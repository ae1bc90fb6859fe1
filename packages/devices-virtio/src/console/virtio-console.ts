import { BatonError } from "@baton/linux";
import type { ChardevBackend } from "../chardev/backend.js";
import { type OpenedChardev, openChardev } from "../chardev/open.js";
import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import { CONSOLE_MAX_PORTS, consoleQueues } from "./config.js";
import type { ConsoleDeviceOptions, ResizeOrder } from "./device.js";
import type { ConsolePortOptions } from "./port.js";

/** A port of a {@link virtioConsole}. */
export interface VirtioConsolePort {
  readonly id: string;
  /** A console of the guest, `hvc`; else a port that its programs open by name. */
  readonly console: boolean;
  /** What the guest finds it by, as in `org.qemu.guest_agent.0`: at most 255 bytes. */
  readonly name?: string;
  /** Its number, 0 to 30; 0 is for a console. The lowest that is free unless given. */
  readonly nr?: number;
  readonly backend: ChardevBackend;
  /** The back end's name in queries; the port's id unless given. */
  readonly label?: string;
}

/** Options of {@link virtioConsole}. */
export interface VirtioConsoleOptions {
  readonly id: string;
  readonly ports: readonly VirtioConsolePort[];
  /** Places for ports, 1 to 31; as many as the ports need unless given. */
  readonly maxPorts?: number;
  /**
   * The order of the two fields that tell the guest a console's size: columns first, as the standard says (5.3.6.2),
   * unless given. Linux before 6.15, and before its stable series followed in 2025, reads the rows first.
   */
  readonly resizeOrder?: ResizeOrder;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

const MAX_NAME_BYTES = 255;

/**
 * A console device with its ports. Errors: `INVALID_ARGUMENT`; when the machine is made `CHARDEV_OPEN`, `SOCKET_IN_USE`,
 * `SOCKET_PATH`.
 */
export function virtioConsole(options: VirtioConsoleOptions): VirtioDeviceDescription {
  const { id, resizeOrder = "columns-first" } = options;
  const numbers = portNumbers(options);
  const maxPorts = options.maxPorts ?? Math.max(0, ...numbers) + 1;
  return {
    kind: "virtio",
    model: "virtio-console",
    id,
    queues: consoleQueues(maxPorts),
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createConsoleDevice",
    open(openOrFind) {
      const opened: OpenedChardev[] = [];
      const close = (handedOver = false) => {
        for (const chardev of opened) chardev.close(handedOver);
      };
      try {
        const ports = options.ports.map((port, i): ConsolePortOptions => {
          const chardev = openChardev(`${id}/${port.id}`, port.backend, openOrFind);
          opened.push(chardev);
          return {
            id: port.id,
            nr: numbers[i] as number,
            name: port.name ?? "",
            console: port.console,
            label: port.label ?? port.id,
            filename: chardev.filename,
            endpoint: chardev.endpoint,
          };
        });
        return { options: { ports, maxPorts, resizeOrder } satisfies ConsoleDeviceOptions, close };
      } catch (error) {
        close();
        throw error;
      }
    },
  };
}

/** The ports' numbers: those that were given, and for the others the lowest that are free. */
function portNumbers({ id, ports, maxPorts = CONSOLE_MAX_PORTS }: VirtioConsoleOptions): number[] {
  const fail = (problem: string) => new BatonError("INVALID_ARGUMENT", `${id}: ${problem}`);
  if (!Number.isInteger(maxPorts) || maxPorts < 1 || maxPorts > CONSOLE_MAX_PORTS) {
    throw fail(`maxPorts must be 1 to ${CONSOLE_MAX_PORTS}, not ${maxPorts}`);
  }
  const taken = new Set<number>();
  const ids = new Set<string>();
  for (const port of ports) {
    if (ids.has(port.id)) throw fail(`there are two ports '${port.id}'`);
    ids.add(port.id);
    if (Buffer.byteLength(port.name ?? "") > MAX_NAME_BYTES) {
      throw fail(`the name of port '${port.id}' has more than ${MAX_NAME_BYTES} bytes`);
    }
    if (port.nr === undefined) continue;
    if (!Number.isInteger(port.nr) || port.nr < 0 || port.nr >= maxPorts) {
      throw fail(`port '${port.id}': its number must be 0 to ${maxPorts - 1}, not ${port.nr}`);
    }
    if (port.nr === 0 && !port.console) throw fail(`port '${port.id}': number 0 is for a console`);
    if (taken.has(port.nr)) throw fail(`port '${port.id}': number ${port.nr} is taken`);
    taken.add(port.nr);
  }
  return ports.map(({ id: port, nr, console }) => {
    if (nr !== undefined) return nr;
    let free = console ? 0 : 1;
    while (taken.has(free)) free++;
    if (free >= maxPorts) throw fail(`there is no place for port '${port}': ${maxPorts} is the most`);
    taken.add(free);
    return free;
  });
}
