/** A disk as `query-block` describes it. */
interface BlockDescription {
  readonly device: string;
  readonly qdev: string;
  /** An object with `file`, `node-name`, `ro`, `drv` and `cache`. */
  readonly inserted: unknown;
}

interface Inserted {
  readonly file: string;
  readonly "node-name": string;
  readonly ro: boolean;
  readonly drv: string;
  readonly cache: { readonly writeback: boolean; readonly direct: boolean };
}

/** A disk in the form of `info block`. */
export function renderBlock({ device, qdev, inserted }: BlockDescription): string {
  const { file, drv, ro, cache, "node-name": node } = inserted as Inserted;
  return [
    `${device} (${node}): ${file} (${drv}${ro ? ", read-only" : ""})\n`,
    `    Attached to:      ${qdev}\n`,
    `    Cache mode:       ${cache.writeback ? "writeback" : "writethrough"}${cache.direct ? ", direct" : ""}\n`,
  ].join("");
}

/** The counters that `info blockstats` shows, in its order. */
const counters = [
  "rd_bytes",
  "wr_bytes",
  "rd_operations",
  "wr_operations",
  "flush_operations",
  "wr_total_time_ns",
  "rd_total_time_ns",
  "flush_total_time_ns",
  "rd_merged",
  "wr_merged",
] as const;

/** A disk's counters in the form of `info blockstats`. */
export function renderBlockStatistics(disk: {
  readonly device: string;
  readonly stats: Readonly<Record<(typeof counters)[number], number>>;
}): string {
  return `${disk.device}: ${counters.map((name) => `${name}=${disk.stats[name]}`).join(" ")}\n`;
}
