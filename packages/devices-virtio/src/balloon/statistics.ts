import type { StateReader } from "../device/state.js";

/** What a guest says about its memory (virtio 1.2, 5.5.6.3), by QEMU's names; bytes, or counts of events. */
export type BalloonStatistics = Readonly<Record<string, bigint>>;

const TAGS: readonly string[] = [
  "stat-swap-in",
  "stat-swap-out",
  "stat-major-faults",
  "stat-minor-faults",
  "stat-free-memory",
  "stat-total-memory",
  "stat-available-memory",
  "stat-disk-caches",
  "stat-htlb-pgalloc",
  "stat-htlb-pgfail",
];
/** Bytes of an entry: tag and value, without padding. */
const ENTRY_BYTES = 10;
/** The most bytes that are looked at. */
export const STATISTICS_BYTES = 64 * ENTRY_BYTES;

/** Reads the entries of a buffer; tags that are not known are left out. */
export function parseStatistics(bytes: Uint8Array): BalloonStatistics {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Record<string, bigint> = {};
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const name = TAGS[data.getUint16(at, true)];
    if (name !== undefined) found[name] = data.getBigUint64(at + 2, true);
  }
  return found;
}

/** Statistics of a state that was not made in this process: names that are not known are left out. */
export function readStatistics(state: StateReader): BalloonStatistics {
  const found: Record<string, bigint> = {};
  for (const name of TAGS) if (state.raw(name) !== undefined) found[name] = state.bits(name);
  return found;
}
