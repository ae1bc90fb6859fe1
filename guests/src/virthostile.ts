import { commandLine } from "./command-line.js";
import { resultLine, resultNumber } from "./result-line.js";
import type { VirtioOptions } from "./virtio.js";

/** The parameters of `virthostile`, with the meaning and defaults that `guests/README.md` gives. */
export interface VirthostileOptions extends Omit<VirtioOptions, "irq" | "trigger"> {
  readonly seed?: number;
  readonly steps?: number;
  /** Attacks that device alone, counted from 0 among those that there are. */
  readonly device?: number;
  readonly mmio?: 0 | 1;
  /** Steps. */
  readonly print?: number;
  /** Time stamps. */
  readonly patience?: number;
}

/** The command line for `virthostile`. */
export function virthostileCmdline(options: VirthostileOptions): string {
  return commandLine(options);
}

/** How a `virthostile` ended. */
export interface VirthostileSummary {
  readonly steps: number;
  readonly resets: number;
  /** How often a device asked to be reset. */
  readonly needsReset: number;
  /** Devices that answered a valid request at the end, by name; and those that did not answer one. */
  readonly alive: readonly string[];
  readonly dead: readonly string[];
}

/** Finds the summary in the console output of `virthostile`. */
export function parseVirthostile(output: string): VirthostileSummary | undefined {
  const line = resultLine(output, "virthostile:");
  if (line === undefined) return undefined;
  const names = (word: string) => [...output.matchAll(new RegExp(`^${word} (\\w+)`, "gm"))].map(([, name]) => name!);
  return {
    steps: resultNumber(line, "steps"),
    resets: resultNumber(line, "resets"),
    needsReset: resultNumber(line, "needs_reset"),
    alive: names("ALIVE"),
    dead: names("DEAD"),
  };
}
