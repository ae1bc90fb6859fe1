import type { TimedVmEvent, VmEvent } from "../events.js";
import { devicePath } from "./qom-path.js";
import { bool, int, type Members, oneOf, type StaticMembers, str } from "./schema.js";

/** An event as clients know it. */
export interface EventDescription {
  readonly name: string;
  /** When it is sent, in sentences. */
  readonly doc: string;
  readonly data: Members;
}

interface EventMapping<E extends VmEvent> extends EventDescription {
  readonly dataOf: (event: E) => Readonly<Record<string, unknown>>;
}

/** What a client is sent. */
export interface MonitorEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** The real time at which it happened. */
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

function mapping<const M extends Members, E extends VmEvent>(
  name: string,
  doc: string,
  data: M,
  dataOf: (event: E) => StaticMembers<M>,
): EventMapping<E> {
  return { name, doc, data, dataOf };
}

const cause = {
  guest: { type: bool, doc: "whether the guest caused it" },
  reason: { type: str, doc: "why, as QEMU's `ShutdownCause`" },
} as const;

/** For each event of a VM the one that clients are sent; null where they are sent none. */
const mappings: { readonly [T in VmEvent["type"]]: EventMapping<Extract<VmEvent, { type: T }>> | null } = {
  stop: mapping("STOP", "The vCPUs have stopped.", {}, () => ({})),
  resume: mapping("RESUME", "The vCPUs are about to run on.", {}, () => ({})),
  powerdown: mapping("POWERDOWN", "The power button has been pressed.", {}, () => ({})),
  shutdown: mapping("SHUTDOWN", "The guest has ended.", cause, ({ guest, reason }) => ({ guest, reason })),
  reset: mapping("RESET", "The machine has been reset.", cause, ({ guest, reason }) => ({ guest, reason })),
  "guest-panicked": mapping(
    "GUEST_PANICKED",
    "The guest's kernel has panicked.",
    { action: { type: oneOf("pause", "poweroff", "run", "reset"), doc: "what has been done about it" } },
    ({ action }) => ({ action }),
  ),
  "block-io-error": mapping(
    "BLOCK_IO_ERROR",
    "The host could not carry out a request of a disk.",
    {
      device: { type: str, doc: "the disk's id" },
      "node-name": { type: str, doc: "the same" },
      "qom-path": { type: str, doc: "its path in the device tree" },
      operation: { type: oneOf("read", "write"), doc: "what the guest had asked for" },
      action: { type: oneOf("report", "ignore", "stop"), doc: "what that led to; a STOP follows a stop" },
      nospace: { type: bool, doc: "whether the host's disk is full" },
      reason: { type: str, doc: "the host's error" },
    },
    ({ device, operation, action, nospace, reason }) => ({
      device,
      "node-name": device,
      "qom-path": devicePath(device),
      operation,
      action,
      nospace,
      reason,
    }),
  ),
  "balloon-changed": mapping(
    "BALLOON_CHANGED",
    "The guest has more or less memory than before.",
    { actual: { type: int, doc: "what it has, in bytes" } },
    ({ actual }) => ({ actual }),
  ),
  "port-changed": mapping(
    "VSERPORT_CHANGE",
    "A program in the guest has opened or closed a serial port.",
    { id: { type: str, doc: "the port's id" }, open: { type: bool, doc: "whether it is open now" } },
    ({ port, open }) => ({ id: port, open }),
  ),
  "device-needs-reset": mapping(
    "DEVICE_NEEDS_RESET",
    "A driver in the guest broke the rules: its device waits to be reset.",
    { device: { type: str, doc: "the device's id" }, reason: { type: str, doc: "what was wrong" } },
    ({ device, reason }) => ({ device, reason }),
  ),
  "device-deleted": mapping(
    "DEVICE_DELETED",
    "A device has been plugged out; sent before the answer to `device_del`.",
    { device: { type: str, doc: "its id" }, path: { type: str, doc: "the same" } },
    ({ device, path }) => ({ device, path }),
  ),
  migration: mapping(
    "MIGRATION",
    "A migration has got to another status; sent only with the capability `events`.",
    { status: { type: str, doc: "QEMU's `MigrationStatus`" } },
    ({ status }) => ({ status }),
  ),
  "migration-pass": mapping(
    "MIGRATION_PASS",
    "A pass over the guest's memory begins; sent only with the capability `events`.",
    { pass: { type: int, doc: "its number, from 1" } },
    ({ pass }) => ({ pass }),
  ),
  device: null,
  // A STOP follows.
  "internal-error": null,
  "run-state": null,
};

/** All events that clients may be sent, sorted by name. */
export const eventTable: readonly EventDescription[] = Object.values(mappings)
  .filter((entry) => entry !== null)
  .map(({ name, doc, data }) => ({ name, doc, data }))
  .sort((a, b) => (a.name < b.name ? -1 : 1));

/** What clients are sent about an event of a VM; null where they are sent nothing. */
export function monitorEvent(event: TimedVmEvent): MonitorEvent | null {
  const entry = mappings[event.type] as EventMapping<VmEvent> | null;
  if (entry === null || ("quiet" in event && event.quiet)) return null;
  const seconds = Math.floor(event.timestampUs / 1_000_000);
  return {
    event: entry.name,
    data: entry.dataOf(event),
    timestamp: { seconds, microseconds: Math.floor(event.timestampUs - seconds * 1_000_000) },
  };
}
