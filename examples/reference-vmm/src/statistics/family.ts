/** What statistics are of. `vm` and `vcpu` are QEMU's `StatsTarget`, the others Baton's own. */
export const statisticTargets = ["vm", "vcpu", "disk", "network"] as const;

/** One of {@link statisticTargets}. */
export type StatisticTarget = (typeof statisticTargets)[number];

/** Statistics that measure one thing, told apart by a label where there are several. */
export interface StatisticFamily {
  readonly target: StatisticTarget;
  /** Its metric's name in Prometheus's conventions, without the prefix `baton_`. */
  readonly metric: string;
  /** What it means, as a sentence. */
  readonly doc: string;
  /** `cumulative` only grows while the VM lives; `instant` is how it stands. */
  readonly kind: "cumulative" | "instant";
  /** What the values count; metrics show nanoseconds as seconds. */
  readonly unit?: "bytes" | "nanoseconds";
  /** The label that tells the statistics of the family apart, where it has several. */
  readonly label?: string;
  /** The statistics: their names in `query-stats`, and the label's value. */
  readonly statistics: Readonly<Record<string, string>>;
}

/** What was measured of one thing at one moment. */
export interface StatisticSubject {
  readonly target: StatisticTarget;
  /** The device's id, or the vCPU's index; empty for the VM itself. */
  readonly id: string;
  /** By the names of statistics; what it does not have is left out. */
  readonly values: Readonly<Record<string, number>>;
}
