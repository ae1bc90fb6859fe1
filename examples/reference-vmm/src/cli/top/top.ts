import { setTimeout as delay } from "node:timers/promises";
import { reportOf } from "../../client/vm-report.js";
import { listVms } from "../../runtime-directory/lookup.js";
import { subcommandArguments } from "../arguments.js";
import { exitCode } from "../exit-code.js";
import type { TimedReport } from "./figures.js";
import { Screen } from "./screen.js";
import { renderTop } from "./view.js";

const DEFAULT_INTERVAL_MS = 2000;
const MIN_INTERVAL_MS = 100;
/** How long a VM may take to answer. */
const PATIENCE_MS = 2000;

/**
 * Shows what the user's VMs do, again and again until `q`; with `--once` one sample as text, or as JSON with `--json`.
 * Fails with `NOT_A_TERMINAL` where it cannot be shown.
 */
export async function runTop(args: readonly string[]): Promise<number> {
  const options = { once: { type: "boolean" }, json: { type: "boolean" }, interval: { type: "string" } } as const;
  const usage = "baton top [--interval SECONDS] | baton top --once [--json]";
  const { flag, seconds } = subcommandArguments(usage, args, options, 0);
  if (flag("once") || flag("json")) {
    const reports = await takeReports();
    const json = () =>
      `${JSON.stringify(
        reports.map(({ report }) => report),
        null,
        2,
      )}\n`;
    process.stdout.write(flag("json") ? json() : renderTop(reports));
    return exitCode.ok;
  }
  await watch(Math.max(MIN_INTERVAL_MS, seconds("interval", DEFAULT_INTERVAL_MS)));
  return exitCode.ok;
}

async function watch(intervalMs: number): Promise<void> {
  const screen = new Screen();
  try {
    let before: ReadonlyMap<string, TimedReport> = new Map();
    while (!screen.ended.aborted) {
      const reports = await takeReports();
      const count = `${reports.length} ${reports.length === 1 ? "VM" : "VMs"}`;
      const head = `baton top: ${count}, ${new Date().toLocaleTimeString()}, every ${intervalMs / 1000} s; q ends`;
      screen.show(`${head}\n\n${renderTop(reports, before)}`);
      before = new Map(reports.map((timed) => [timed.report.name, timed]));
      await delay(intervalMs, undefined, { signal: screen.ended }).catch(() => {});
    }
  } finally {
    screen.close();
  }
}

function takeReports(): Promise<TimedReport[]> {
  return Promise.all(
    listVms().map(async (entry) => {
      const report = await reportOf(entry, { timeoutMs: PATIENCE_MS });
      return { report, at: performance.now() };
    }),
  );
}
