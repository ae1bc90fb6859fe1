import type { StatisticFamily, StatisticSubject } from "../../statistics/family.js";
import { statisticTable } from "../../statistics/table.js";

/** The media type of {@link renderMetrics}. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const labelNames = { vm: undefined, vcpu: "vcpu", disk: "device", network: "device" } as const;
const types = { cumulative: "counter", instant: "gauge" } as const;

/** A sample as text in Prometheus's exposition format, version 0.0.4. `vm` is the VM's name, if it has one. */
export function renderMetrics(subjects: readonly StatisticSubject[], vm?: string): string {
  return statisticTable.map((family) => renderFamily(family, subjects, vm)).join("");
}

function renderFamily(family: StatisticFamily, subjects: readonly StatisticSubject[], vm: string | undefined): string {
  const name = `baton_${family.metric}`;
  const lines = subjects
    .filter(({ target }) => target === family.target)
    .flatMap(({ id, values }) =>
      Object.entries(family.statistics)
        .filter(([statistic]) => values[statistic] !== undefined)
        .map(([statistic, value]) => {
          const labels = { vm, [labelNames[family.target] ?? ""]: id, [family.label ?? ""]: value };
          return `${name}${renderLabels(labels)} ${inUnit(family, values[statistic] as number)}\n`;
        }),
    );
  if (lines.length === 0) return "";
  return `# HELP ${name} ${family.doc}\n# TYPE ${name} ${types[family.kind]}\n${lines.join("")}`;
}

function renderLabels(labels: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(labels).filter(([name, value]) => name !== "" && value !== undefined);
  if (pairs.length === 0) return "";
  return `{${pairs.map(([name, value]) => `${name}="${escaped(value as string)}"`).join(",")}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === "\n" ? "\\n" : `\\${character}`));
}

function inUnit({ unit }: StatisticFamily, value: number): number {
  return unit === "nanoseconds" ? value / 1e9 : value;
}
