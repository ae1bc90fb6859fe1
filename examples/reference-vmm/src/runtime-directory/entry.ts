import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BatonError, bootId, processStartTime } from "@baton/linux";

/** The file in a VM's directory that describes it. */
const FILE = "vm.json";
const VERSION = 1;
/** Longer files are not ours. */
const MAX_CHARACTERS = 65_536;
/** UNIX sockets have paths of at most 107 bytes, and these stand below directories that may be long. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$/;

/** Where a VM can be talked to; paths. */
export interface VmSockets {
  readonly qmp?: string;
  readonly metrics?: string;
  /** The serial port. */
  readonly console?: string;
}

/** A running VM as others find it. */
export interface VmEntry {
  readonly name: string;
  readonly pid: number;
  /** When the process was started, as `processStartTime` tells: ids come back. */
  readonly startTime: bigint;
  /** The boot of the host in which it was: ids and start times come back then. */
  readonly bootId: string;
  /** In milliseconds since 1970. */
  readonly since: number;
  readonly sockets: VmSockets;
}

/** Checks the name of a VM that others shall find. Fails with `NAME_INVALID`. */
export function aVmName(name: string): string {
  if (NAME.test(name)) return name;
  throw new BatonError(
    "NAME_INVALID",
    `'${name}' is no name for a VM: up to 48 letters, digits, '.', '_' and '-', the first a letter or digit`,
  );
}

/** Whether a file in the runtime directory may be a VM's. */
export function isVmName(name: string): boolean {
  return NAME.test(name);
}

/** Whether the very process that wrote the entry lives. */
export function isAlive({ pid, startTime, bootId: boot }: VmEntry): boolean {
  return boot === bootId() && processStartTime(pid) === startTime;
}

/** Writes a VM's description into its directory, whole or not at all. */
export function writeEntry(directory: string, entry: VmEntry): void {
  const text = JSON.stringify({ version: VERSION, ...entry, startTime: entry.startTime.toString() });
  writeFileSync(join(directory, `${FILE}.new`), `${text}\n`, { mode: 0o600 });
  renameSync(join(directory, `${FILE}.new`), join(directory, FILE));
}

/** Reads a VM's directory; undefined where it describes none. */
export function readEntry(directory: string): VmEntry | undefined {
  let value: unknown;
  try {
    const text = readFileSync(join(directory, FILE), "utf8");
    value = text.length > MAX_CHARACTERS ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
  return parseEntry(value);
}

function parseEntry(value: unknown): VmEntry | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { version, name, pid, startTime, bootId: boot, since, sockets } = value as Record<string, unknown>;
  if (version !== VERSION || typeof name !== "string" || !isVmName(name)) return undefined;
  if (!Number.isInteger(pid) || (pid as number) < 1 || (pid as number) > 0x7fffffff) return undefined;
  if (typeof startTime !== "string" || !/^\d{1,20}$/.test(startTime)) return undefined;
  if (typeof boot !== "string" || !Number.isFinite(since)) return undefined;
  if (typeof sockets !== "object" || sockets === null) return undefined;
  const path = (key: keyof VmSockets) => {
    const text = (sockets as Record<string, unknown>)[key];
    return typeof text === "string" ? { [key]: text } : {};
  };
  return {
    name,
    pid: pid as number,
    startTime: BigInt(startTime),
    bootId: boot,
    since: since as number,
    sockets: { ...path("qmp"), ...path("metrics"), ...path("console") },
  };
}
