import type { VmEntry } from "../runtime-directory/entry.js";
import type { StatisticTarget } from "../statistics/family.js";
import { statisticTargets } from "../statistics/family.js";
import { type AskOptions, askVm, type Question } from "./qmp-client.js";

/** The statistics of one vCPU or device, by name; `id` is the vCPU's index, or the device's id. */
export interface ReportedSubject {
  readonly id: string;
  readonly values: Readonly<Record<string, number>>;
}

/** What a running VM says of itself. */
export interface VmReport {
  readonly name: string;
  readonly pid: number;
  /** The run state; `starting` before it can be asked, `not answering` where it does not answer. */
  readonly state: string;
  /** In milliseconds since 1970. */
  readonly since: number;
  /** What `query-stats` returns, by target; empty where it does not answer. */
  readonly statistics: Readonly<Record<StatisticTarget, readonly ReportedSubject[]>>;
}

interface StatsResult {
  readonly "qom-path"?: string;
  readonly stats: readonly { readonly name: string; readonly value: number }[];
}

const noStatistics: VmReport["statistics"] = { vm: [], vcpu: [], disk: [], network: [] };
const questions: readonly Question[] = [
  ["query-status"],
  ...statisticTargets.map((target): Question => ["query-stats", { target }]),
];

/** Asks a VM for its state and statistics. A VM that does not answer is reported as such. */
export async function reportOf(entry: VmEntry, options: AskOptions = {}): Promise<VmReport> {
  const { name, pid, since, sockets } = entry;
  const silent = (state: string) => ({ name, pid, state, since, statistics: noStatistics });
  if (sockets.qmp === undefined) return silent("starting");
  try {
    const [status, ...results] = await askVm(sockets.qmp, questions, options);
    const statistics = statisticTargets.map((target, i) => [target, (results[i] as StatsResult[]).map(subjectOf)]);
    return { ...silent((status as { status: string }).status), statistics: Object.fromEntries(statistics) };
  } catch {
    return silent("not answering");
  }
}

function subjectOf({ "qom-path": path = "", stats }: StatsResult): ReportedSubject {
  const id = /device\[(\d+)\]$/.exec(path)?.[1] ?? path.slice(path.lastIndexOf("/") + 1);
  return { id, values: Object.fromEntries(stats.map(({ name, value }) => [name, value])) };
}
