import type { GuestRun } from "./guest-run.js";
import { median } from "./statistics.js";

/** A row: how many operations a second, and what each costs. */
export function compare(name: string, count: number, own: readonly GuestRun[], peer: readonly GuestRun[]): string[] {
  const perSecond = (runs: readonly GuestRun[]) => count / (median(runs.map(({ ms }) => ms)) / 1000);
  const cost = (runs: readonly GuestRun[]) => ((median(runs.map(({ cpuMs }) => cpuMs)) * 1000) / count).toFixed(1);
  const [a, b] = [perSecond(own), perSecond(peer)];
  return [name, a.toFixed(0), b.toFixed(0), `${(a / b).toFixed(2)} x`, cost(own), cost(peer)];
}
