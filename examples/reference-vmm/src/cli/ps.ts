import { reportOf, type VmReport } from "../client/vm-report.js";
import { listVms } from "../runtime-directory/lookup.js";
import { bytesText, durationText } from "../units.js";
import { subcommandArguments } from "./arguments.js";
import { exitCode } from "./exit-code.js";
import { textTable } from "./text-table.js";

/** How long a VM may take to say how it is. */
const PATIENCE_MS = 2000;

/** Lists the user's running VMs: as a table, or with `--json` as a list of objects. */
export async function runPs(args: readonly string[]): Promise<number> {
  const { flag } = subcommandArguments("baton ps [--json]", args, { json: { type: "boolean" } }, 0);
  const entries = listVms();
  const reports = await Promise.all(entries.map((entry) => reportOf(entry, { timeoutMs: PATIENCE_MS })));
  if (flag("json")) {
    const list = reports.map((report, i) => ({ ...summary(report), sockets: entries[i]?.sockets }));
    process.stdout.write(`${JSON.stringify(list, null, 2)}\n`);
  } else {
    const head = ["NAME", "PID", "STATE", "VCPUS", "MEMORY", "UP"];
    process.stdout.write(textTable([head, ...reports.map(row)], [1, 3, 4, 5]));
  }
  return exitCode.ok;
}

function summary({ name, pid, state, since, statistics }: VmReport) {
  const memoryBytes = statistics.vm[0]?.values["memory-size"];
  const answers = memoryBytes !== undefined;
  return { name, pid, state, since, ...(answers && { vcpus: statistics.vcpu.length, memoryBytes }) };
}

function row(report: VmReport): string[] {
  const { name, pid, state, since, vcpus, memoryBytes } = summary(report);
  const memory = memoryBytes === undefined ? "-" : bytesText(memoryBytes);
  return [name, String(pid), state, String(vcpus ?? "-"), memory, durationText(Date.now() - since)];
}
