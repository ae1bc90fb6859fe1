import { bytesText } from "../../units.js";
import { textTable } from "../text-table.js";
import { figuresOf, type TimedReport, type VmFigures } from "./figures.js";

const TOTALS = ["GUEST", "VMM", "EXITS", "READ", "WRITTEN", "RECEIVED", "SENT"] as const;
const RATES = ["GUEST%", "VMM%", "EXITS/s", "READ/s", "WRITTEN/s", "RECEIVED/s", "SENT/s"] as const;
const RIGHT = [2, 3, 4, 5, 6, 7, 8, 9, 10];

/**
 * VMs as a table, a line for each and one with its exits by reason: per second with earlier reports, by name, and since
 * each was made without.
 */
export function renderTop(reports: readonly TimedReport[], before?: ReadonlyMap<string, TimedReport>): string {
  const figures = reports.map((timed) => figuresOf(timed, before?.get(timed.report.name)));
  const perSecond = before !== undefined;
  const head = ["NAME", "STATE", ...(perSecond ? RATES : TOTALS), "RESIDENT", "BALLOON"];
  const rows = reports.map((timed, i) => row(timed, figures[i] as VmFigures, perSecond));
  const [first = "", ...lines] = textTable([head, ...rows], RIGHT)
    .trimEnd()
    .split("\n");
  return [first, ...lines.flatMap((line, i) => [line, ...exitsLine(figures[i] as VmFigures, perSecond)]), ""].join(
    "\n",
  );
}

function row({ report }: TimedReport, figures: VmFigures, perSecond: boolean): string[] {
  const memory = report.statistics.vm[0]?.values;
  const size = (name: string) => (memory?.[name] === undefined ? "-" : bytesText(memory[name]));
  // A VM that has just come has no rates yet.
  const known = memory !== undefined && figures.perSecond === perSecond;
  const time = (seconds: number) => (perSecond ? (seconds * 100).toFixed(1) : `${seconds.toFixed(2)}s`);
  const { guestSeconds, vmmSeconds, exits, readBytes, writtenBytes, receivedBytes, sentBytes } = figures;
  const cells = [
    ...[guestSeconds, vmmSeconds].map(time),
    exits.reduce((sum, [, count]) => sum + count, 0).toFixed(0),
    ...[readBytes, writtenBytes, receivedBytes, sentBytes].map((bytes) => bytesText(Math.round(bytes))),
  ];
  return [
    report.name,
    report.state,
    ...(known ? cells : cells.map(() => "-")),
    size("resident-size"),
    size("balloon-actual"),
  ];
}

function exitsLine({ exits, perSecond: own }: VmFigures, perSecond: boolean): string[] {
  if (exits.length === 0 || own !== perSecond) return [];
  return [
    `  exits${perSecond ? "/s" : ""}: ${exits.map(([reason, count]) => `${reason} ${count.toFixed(0)}`).join(", ")}`,
  ];
}
