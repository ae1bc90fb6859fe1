import { commandLine } from "./command-line.js";
import { resultLine, resultNumber, resultTimes } from "./result-line.js";
import type { VirtioOptions } from "./virtio.js";

/** The values of `mode=` of the guest `blkbench`. */
export const blkbenchModes = ["randread", "randwrite", "seqread", "seqwrite"] as const;

/** What `blkbench` does. */
export type BlkbenchMode = (typeof blkbenchModes)[number];

/** The parameters of `blkbench`, with the meaning and defaults that `guests/README.md` gives. */
export interface BlkbenchOptions extends VirtioOptions {
  readonly mode?: BlkbenchMode;
  /** Requests in flight, 1 to 128. */
  readonly depth?: number;
  /** Bytes of a request. */
  readonly block?: number;
  readonly ops?: number;
  readonly warmup?: number;
  /** Blocks of the disk that are used, from the first on. */
  readonly blocks?: number;
  /** Descriptors that the bytes of a request are cut into. */
  readonly parts?: number;
  readonly seed?: number;
}

/** The command line for `blkbench`. */
export function blkbenchCmdline(options: BlkbenchOptions): string {
  return commandLine(options);
}

/** What `blkbench` measured. */
export interface BlkbenchResult {
  readonly mode: BlkbenchMode;
  readonly depth: number;
  readonly block: number;
  readonly ops: number;
  readonly bytes: number;
  /** Time stamps that the requests took, and those at the begin and the end. */
  readonly tsc: number;
  readonly beginTsc: bigint;
  readonly endTsc: bigint;
  /** Requests with another status than 0 or another length than that of the request. */
  readonly errors: number;
  /** Doorbells rung. */
  readonly notifications: number;
  readonly interrupts: number;
}

/** Finds the result in the console output of `blkbench`. */
export function parseBlkbench(output: string): BlkbenchResult | undefined {
  const line = resultLine(output, "blkbench:");
  const times = resultTimes(output);
  if (line === undefined || times === undefined) return undefined;
  return {
    mode: line.get("mode") as BlkbenchMode,
    depth: resultNumber(line, "depth"),
    block: resultNumber(line, "block"),
    ops: resultNumber(line, "ops"),
    bytes: resultNumber(line, "bytes"),
    tsc: resultNumber(line, "tsc"),
    ...times,
    errors: resultNumber(line, "errors"),
    notifications: resultNumber(line, "notifications"),
    interrupts: resultNumber(line, "interrupts"),
  };
}
