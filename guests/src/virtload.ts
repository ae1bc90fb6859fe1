import { commandLine } from "./command-line.js";
import { resultLine, resultNumber } from "./result-line.js";
import type { VirtioOptions } from "./virtio.js";

/** The parameters of `virtload`, with the meaning and defaults that `guests/README.md` gives. */
export interface VirtloadOptions extends Omit<VirtioOptions, "irq"> {
  readonly rounds?: number;
  readonly burst?: number;
  /** Time stamps. */
  readonly print?: number;
  readonly stall?: number;
  /** Tenths of a second. */
  readonly spoil?: number;
  readonly blkblocks?: number;
  /** 1: disks may come and go. */
  readonly plug?: 0 | 1;
  readonly netecho?: 0 | 1;
  readonly netwindow?: number;
  /** Time stamps. */
  readonly nettimeout?: number;
  readonly conlines?: number;
  /** MiB. */
  readonly balloon?: number;
  readonly vsport?: number;
  readonly vsbytes?: number;
}

/** The command line for `virtload`. */
export function virtloadCmdline(options: VirtloadOptions): string {
  return commandLine(options);
}

/** The byte on COM1 that ends `virtload`. */
export const VIRTLOAD_STOP = "q";

/** The guest's port that takes connections of the host, and sends back what comes. */
export const VIRTLOAD_ECHO_PORT = 5000;

/** The byte at that place of the stream that `virtload` sends to the host's port. */
export function virtloadStreamByte(at: number): number {
  return Number((BigInt(Math.floor(at / 8)) >> BigInt((at % 8) * 8)) & 0xffn);
}

/** Operations that each device has ended, by its name. */
export type VirtloadCounters = Readonly<Record<string, number>>;

/** The counters of all lines `t …` so far. */
export function parseVirtloadCounters(output: string): VirtloadCounters[] {
  return [...output.matchAll(/^t((?: \w+=\d+)+)\r?$/gm)].map(([, pairs]) =>
    Object.fromEntries([...pairs!.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name!, Number(value)])),
  );
}

/**
 * A line that tells of something: "BAD" ends the guest, "STALL" makes it end with EXIT_BAD, the others are no faults:
 * "RESET" of a device, "PLUG" of a disk that came or went, "LINK" of a cable.
 */
export interface VirtloadFinding {
  readonly kind: "BAD" | "STALL" | "RESET" | "PLUG" | "LINK";
  /** What follows: the device's name, and more. */
  readonly text: string;
}

/** What `virtload` has found so far. */
export function parseVirtloadFindings(output: string): VirtloadFinding[] {
  return [...output.matchAll(/^(BAD|STALL|RESET|PLUG|LINK) ([^\r\n]*)/gm)].map(([, kind, text]) => ({
    kind: kind as VirtloadFinding["kind"],
    text: text!,
  }));
}

/** The last line of a `virtload` that came to its end. */
export interface VirtloadSummary {
  /** By the device's name; also `net_late`, `vs_streams` and `vs_resets`. */
  readonly counters: VirtloadCounters;
  readonly interrupts: number;
  readonly resets: number;
  readonly stalls: number;
}

/** Finds the summary in the console output of `virtload`. */
export function parseVirtloadSummary(output: string): VirtloadSummary | undefined {
  const line = resultLine(output, "virtload:");
  if (line === undefined) return undefined;
  const totals = ["interrupts", "resets", "stalls"];
  const names = [...line.keys()].filter((name) => !totals.includes(name));
  return {
    counters: Object.fromEntries(names.map((name) => [name, resultNumber(line, name)])),
    interrupts: resultNumber(line, "interrupts"),
    resets: resultNumber(line, "resets"),
    stalls: resultNumber(line, "stalls"),
  };
}
