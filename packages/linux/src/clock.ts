import { readFileSync } from "node:fs";
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME } from "./abi/event.js";
import { checked } from "./errno.js";
import { libc } from "./native.js";

const timespec = new BigInt64Array(2);

function now(clock: number): bigint {
  const call = libc<(clock: number, out: BigInt64Array) => number>("int clock_gettime(int, void *)");
  checked(call(clock, timespec), "clock_gettime");
  return (timespec[0] as bigint) * 1_000_000_000n + (timespec[1] as bigint);
}

/** Nanoseconds of CLOCK_MONOTONIC: the same for all processes of a host, stands still in suspend. clock_gettime(2). */
export function monotonicNs(): bigint {
  return now(CLOCK_MONOTONIC);
}

/** Nanoseconds since 1970 of CLOCK_REALTIME; it may be set. clock_gettime(2). */
export function realtimeNs(): bigint {
  return now(CLOCK_REALTIME);
}

/** Nanoseconds since the host's boot, suspend included. clock_gettime(2) CLOCK_BOOTTIME. */
export function boottimeNs(): bigint {
  return now(CLOCK_BOOTTIME);
}

/** The host's boot, by the kernel's random name for it: clocks but CLOCK_REALTIME, and the TSC, mean nothing in another. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
}
