import { BatonError } from "@baton/linux";
import {
  buffer,
  float64,
  i64,
  named,
  type StateOf,
  timer,
  u8,
  u16,
  u32,
  u64,
  unused,
  vmstate,
} from "@baton/migration/vmstate";
import type { RtcState } from "../rtc.js";

const CMOS_BYTES = 128;

/**
 * QEMU's section `mc146818rtc`, version 3. Baton's clock has no timers and runs on the host's: members on them are 0, and
 * mean nothing on load; `baton/rtc` has the distance to the host's clock. QEMU: hw/rtc/mc146818rtc.c.
 */
export const rtcVmstate = vmstate({
  name: "mc146818rtc",
  version: 3,
  fields: {
    cmos: named("cmos_data", buffer(CMOS_BYTES)),
    selected: named("cmos_index", u8),
    calendar: unused(28),
    periodicTimer: named("periodic_timer", timer),
    nextPeriodic: named("next_periodic_time", i64),
    seconds: unused(24),
    coalesced: named("irq_coalesced", u32),
    period: u32,
    base: named("base_rtc", u64),
    lastUpdate: named("last_update", u64),
    offset: i64,
    updateTimer: named("update_timer", timer),
    nextAlarm: named("next_alarm_time", u64),
  },
  subsections: {
    reinject: vmstate({
      name: "mc146818rtc/irq_reinject_on_ack_count",
      version: 1,
      fields: { count: named("irq_reinject_on_ack_count", u16) },
    }),
  },
});

/** Baton's section `baton/rtc`: what the guest has added to the host's real time, in seconds. */
export const ownRtcVmstate = vmstate({ name: "baton/rtc", version: 1, fields: { offsetSeconds: float64 } });

/** The sections of the clock. */
export interface RtcSections {
  readonly rtc: StateOf<typeof rtcVmstate>;
  readonly own: StateOf<typeof ownRtcVmstate>;
}

/** The clock as sections. */
export function saveRtcSections({ cmos, selected, offsetSeconds }: RtcState): RtcSections {
  const number = new DataView(new ArrayBuffer(8));
  number.setFloat64(0, offsetSeconds);
  const none = { nextPeriodic: 0n, coalesced: 0, period: 0, base: 0n, lastUpdate: 0n, offset: 0n, nextAlarm: 0n };
  return {
    rtc: { cmos, selected, periodicTimer: null, updateTimer: null, ...none },
    own: { offsetSeconds: number.getBigUint64(0) },
  };
}

/** The state that the sections are of. Throws `STATE_INVALID` for a distance or a register that cannot be. */
export function joinRtcSections({ rtc, own }: RtcSections): RtcState {
  const number = new DataView(new ArrayBuffer(8));
  number.setBigUint64(0, own.offsetSeconds);
  const offsetSeconds = number.getFloat64(0);
  if (!Number.isFinite(offsetSeconds)) {
    throw new BatonError("STATE_INVALID", `baton/rtc: the clock is ${offsetSeconds} seconds from the host's`);
  }
  if (rtc.selected >= CMOS_BYTES) {
    throw new BatonError("STATE_INVALID", `mc146818rtc: register ${rtc.selected} of ${CMOS_BYTES} is selected`);
  }
  return { offsetSeconds, selected: rtc.selected, cmos: rtc.cmos };
}
