import { commandLine } from "./command-line.js";
import { resultLine, resultNumber, resultTimes } from "./result-line.js";
import type { VirtioOptions } from "./virtio.js";

/** The values of `role=` of the guest `netbench`. */
export const netbenchRoles = ["tx", "rx", "echo", "pingpong"] as const;

/** What `netbench` does. */
export type NetbenchRole = (typeof netbenchRoles)[number];

/** The frames of `netbench`, behind an Ethernet header of 14 bytes; little-endian. */
export const netbenchFrame = {
  /** The EtherType (big-endian, as in every frame). */
  ETHERTYPE: 0x88b5,
  /** u32 at 14. */
  MAGIC: 0x626e_7462,
  /** u32 at 18: data, or the end of a run. */
  KIND_DATA: 1,
  KIND_STOP: 2,
  /** Offset of the u64 sequence number, which counts from 0. */
  SEQUENCE_AT: 22,
} as const;

/** The line that `netbench` prints when its device is ready. */
export const NETBENCH_READY = "ready\n";

/** The parameters of `netbench`, with the meaning and defaults that `guests/README.md` gives. */
export interface NetbenchOptions extends VirtioOptions {
  readonly role?: NetbenchRole;
  /** Bytes of a frame with its Ethernet header: 64 to 1514, with `gso` to 65549. */
  readonly size?: number;
  readonly gso?: 0 | 1;
  readonly packets?: number;
  readonly depth?: number;
  /** Time stamps without a frame after which a run has failed. */
  readonly idle?: number;
}

/** The command line for `netbench`. */
export function netbenchCmdline(options: NetbenchOptions): string {
  return commandLine(options);
}

/** What `netbench` measured. */
export interface NetbenchResult {
  readonly role: NetbenchRole;
  readonly size: number;
  readonly packets: number;
  readonly bytes: number;
  /** Time stamps from the first frame to the last, and those of both. */
  readonly tsc: number;
  readonly beginTsc: bigint;
  readonly endTsc: bigint;
  /** Frames that did not come in time. */
  readonly errors: number;
  /** Gaps in the sequence numbers; numbers that were due earlier. */
  readonly lost: number;
  readonly disorder: number;
  /** Time stamps of a round trip; 0 in other roles than "pingpong". */
  readonly shortest: number;
  readonly longest: number;
  readonly notifications: number;
  readonly interrupts: number;
}

/** Finds the result in the console output of `netbench`. */
export function parseNetbench(output: string): NetbenchResult | undefined {
  const line = resultLine(output, "netbench:");
  const times = resultTimes(output);
  if (line === undefined || times === undefined) return undefined;
  return {
    role: line.get("role") as NetbenchRole,
    size: resultNumber(line, "size"),
    packets: resultNumber(line, "packets"),
    bytes: resultNumber(line, "bytes"),
    tsc: resultNumber(line, "tsc"),
    ...times,
    errors: resultNumber(line, "errors"),
    lost: resultNumber(line, "lost"),
    disorder: resultNumber(line, "disorder"),
    shortest: resultNumber(line, "shortest"),
    longest: resultNumber(line, "longest"),
    notifications: resultNumber(line, "notifications"),
    interrupts: resultNumber(line, "interrupts"),
  };
}
