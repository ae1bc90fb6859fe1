import type { ReportedSubject, VmReport } from "../../client/vm-report.js";

/** A report with the moment it was made, in milliseconds of a clock that never steps. */
export interface TimedReport {
  readonly report: VmReport;
  readonly at: number;
}

/** What a VM has done: since it was made, or per second between two reports. Times in seconds, sizes in bytes. */
export interface VmFigures {
  readonly perSecond: boolean;
  /** Per second: how many processors' worth. */
  readonly guestSeconds: number;
  readonly vmmSeconds: number;
  /** Reasons that occurred, the most frequent first. */
  readonly exits: readonly (readonly [reason: string, count: number])[];
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

const SUFFIX = "-exits";

/** A VM's figures; per second where an earlier report of the same process is given. */
export function figuresOf(now: TimedReport, before?: TimedReport): VmFigures {
  const same = before?.report.pid === now.report.pid && hasStatistics(before.report) && now.at > before.at;
  const earlier = same ? before : undefined;
  const perUnit = earlier === undefined ? 1 : (now.at - earlier.at) / 1000;
  const figure = (target: "vcpu" | "disk" | "network", name: string) => {
    const sum = total(now.report.statistics[target], name);
    return Math.max(0, sum - (earlier ? total(earlier.report.statistics[target], name) : 0)) / perUnit;
  };
  const reasons = Object.keys(now.report.statistics.vcpu[0]?.values ?? {})
    .filter((name) => name.endsWith(SUFFIX) && name !== `forwarded${SUFFIX}`)
    .map((name): [string, number] => [name.slice(0, -SUFFIX.length), figure("vcpu", name)]);
  return {
    perSecond: earlier !== undefined,
    guestSeconds: figure("vcpu", "guest-time") / 1e9,
    vmmSeconds: figure("vcpu", "vmm-time") / 1e9,
    exits: reasons.filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]),
    readBytes: figure("disk", "read-bytes"),
    writtenBytes: figure("disk", "write-bytes"),
    receivedBytes: figure("network", "receive-bytes"),
    sentBytes: figure("network", "transmit-bytes"),
  };
}

function hasStatistics({ statistics }: VmReport): boolean {
  return statistics.vm.length > 0;
}

function total(subjects: readonly ReportedSubject[], name: string): number {
  return subjects.reduce((sum, { values }) => sum + (values[name] ?? 0), 0);
}
