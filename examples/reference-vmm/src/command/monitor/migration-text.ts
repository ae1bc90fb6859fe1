import type { StreamProgress } from "@baton/migration";
import { bytesText } from "../../units.js";

/** The result of `query-migrate`, as far as the monitor shows it. */
interface MigrationInfo {
  readonly status: string;
  readonly "total-time"?: number;
  readonly "setup-time"?: number;
  readonly downtime?: number;
  readonly "expected-downtime"?: number;
  readonly ram?: {
    readonly transferred: number;
    readonly remaining: number;
    readonly total: number;
    readonly duplicate: number;
    readonly normal: number;
    readonly "page-size": number;
    readonly "pages-per-second": number;
    readonly mbps?: unknown;
  };
  readonly "error-desc"?: string;
  readonly "blocked-reasons"?: readonly string[];
}

const kib = (bytes: number) => `${Math.floor(bytes / 1024)} KiB`;

/** `info migrate`, in QEMU's lines. */
export function migrationText(info: MigrationInfo): string {
  const { status, ram } = info;
  const lines: string[] = [];
  const add = (name: string, text: string) => lines.push(`${name}:`.padEnd(16) + text);
  if (status !== "none") add("Status", status + (info["error-desc"] === undefined ? "" : ` (${info["error-desc"]})`));
  if (info["total-time"] !== undefined) {
    const parts = [`total=${info["total-time"]}`, `setup=${info["setup-time"]}`];
    if (info.downtime !== undefined) parts.push(`down=${info.downtime}`);
    if (info["expected-downtime"] !== undefined) parts.push(`exp_down=${info["expected-downtime"]}`);
    add("Time (ms)", parts.join(", "));
  }
  if (ram !== undefined) {
    add("RAM", `total=${kib(ram.total)}, sent=${kib(ram.transferred)}, left=${kib(ram.remaining)}`);
    add("Pages", `${ram.normal} normal, ${ram.duplicate} zero, of ${ram["page-size"]} bytes`);
    add("Throughput", `${String(ram.mbps)} Mbps, ${ram["pages-per-second"]} pages a second`);
  }
  const reasons = info["blocked-reasons"] ?? [];
  if (reasons.length > 0) lines.push("Outgoing migration blocked:", ...reasons.map((reason) => `  ${reason}`));
  return lines.map((line) => `${line}\n`).join("");
}

/** How far a migration is, on one line. */
export function progressText({ pages, zeroPages, totalPages, bytes }: StreamProgress): string {
  const done = totalPages === 0 ? 100 : Math.floor((100 * (pages + zeroPages)) / totalPages);
  return `migrate: ${done}%, ${bytesText(bytes)} sent`;
}

/** `info migrate_capabilities`. */
export function capabilitiesText(
  capabilities: readonly { readonly capability: string; readonly state: boolean }[],
): string {
  return capabilities.map(({ capability, state }) => `${capability}: ${state ? "on" : "off"}\n`).join("");
}
