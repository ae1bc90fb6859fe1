import { bool, existsIf, named, type StateOf, text, u32, u64, type Vmstate, vmstate } from "@baton/migration/vmstate";
import type { ClockState } from "../clock.js";

/** QEMU's section `kvmclock`, version 1: the clock in nanoseconds. QEMU: hw/i386/kvm/clock.c. */
export const kvmclockVmstate = vmstate({
  name: "kvmclock",
  version: 1,
  fields: { clock: u64 },
  subsections: {
    reliable: vmstate({
      name: "kvmclock/clock_is_reliable",
      version: 1,
      fields: { value: named("clock_is_reliable", bool) },
    }),
  },
}) satisfies Vmstate<{ clock: bigint; reliable?: { value: boolean } | undefined }>;

/** The clock in QEMU's layout. */
export type KvmclockSection = StateOf<typeof kvmclockVmstate>;

const has =
  <K extends string>(member: K) =>
  (state: { [P in K]: boolean }) =>
    state[member];

/** Baton's section `baton/clock`: the flags, the host's clocks at the instant at which the clock was read, and the host's boot. */
export const ownClockVmstate = vmstate({
  name: "baton/clock",
  version: 1,
  fields: {
    flags: u32,
    hasRealtime: bool,
    realtimeNs: existsIf(["hasRealtime"], has("hasRealtime"), u64, 0n),
    hasHostTsc: bool,
    hostTsc: existsIf(["hasHostTsc"], has("hasHostTsc"), u64, 0n),
    bootId: text,
  },
});

/** What Baton has of the clock beyond QEMU's layout. */
export type OwnClockSection = StateOf<typeof ownClockVmstate>;

/** The sections of the clock. */
export interface ClockSections {
  readonly kvmclock: KvmclockSection;
  readonly own: OwnClockSection;
}

/** The clock's state as sections. */
export function saveClock({ clockNs, flags, realtimeNs, hostTsc, bootId }: ClockState): ClockSections {
  return {
    kvmclock: { clock: clockNs },
    own: {
      flags,
      hasRealtime: realtimeNs !== null,
      realtimeNs: realtimeNs ?? 0n,
      hasHostTsc: hostTsc !== null,
      hostTsc: hostTsc ?? 0n,
      bootId,
    },
  };
}

/** The state that the sections are of. */
export function joinClock({ kvmclock, own }: ClockSections): ClockState {
  return {
    clockNs: kvmclock.clock,
    flags: own.flags,
    realtimeNs: own.hasRealtime ? own.realtimeNs : null,
    hostTsc: own.hasHostTsc ? own.hostTsc : null,
    bootId: own.bootId,
  };
}
