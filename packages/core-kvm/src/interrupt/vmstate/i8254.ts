import { array, i32, i64, named, type StateOf, struct, u8, u16, u32, vmstate } from "@baton/migration/vmstate";
import { kvm_pit_channel_state, kvm_pit_state2 } from "../../abi/kvm.js";
import { Struct } from "../../struct.js";

const CHANNELS = 3;
/** The kernel's flag for a channel 0 that a HPET has replaced. */
const HPET_LEGACY = 1;

const channel = vmstate({
  name: "pit channel",
  version: 2,
  fields: {
    count: i32,
    latchedCount: named("latched_count", u16),
    countLatched: named("count_latched", u8),
    statusLatched: named("status_latched", u8),
    status: u8,
    readState: named("read_state", u8),
    writeState: named("write_state", u8),
    writeLatch: named("write_latch", u8),
    rwMode: named("rw_mode", u8),
    mode: u8,
    bcd: u8,
    gate: u8,
    countLoadTime: named("count_load_time", i64),
    nextTransitionTime: named("next_transition_time", i64),
  },
});

/**
 * QEMU's section `i8254`, version 3. Load times are the kernel's, on its own clock. The times of transitions are QEMU's
 * own: they are written as 0 and mean nothing on load. QEMU: hw/timer/i8254_common.c.
 */
export const i8254Vmstate = vmstate({
  name: "i8254",
  version: 3,
  fields: {
    irqDisabled: named("channels[0].irq_disabled", u32),
    channels: array(CHANNELS, struct(channel)),
    nextTransitionTime: named("channels[0].next_transition_time", i64),
  },
});

/** The PIT in QEMU's layout. */
export type I8254Section = StateOf<typeof i8254Vmstate>;
type Channel = StateOf<typeof channel>;

const bytePlaces: readonly (readonly [keyof Channel & string, number])[] = [
  ["countLatched", kvm_pit_channel_state.count_latched],
  ["statusLatched", kvm_pit_channel_state.status_latched],
  ["status", kvm_pit_channel_state.status],
  ["readState", kvm_pit_channel_state.read_state],
  ["writeState", kvm_pit_channel_state.write_state],
  ["writeLatch", kvm_pit_channel_state.write_latch],
  ["rwMode", kvm_pit_channel_state.rw_mode],
  ["mode", kvm_pit_channel_state.mode],
  ["bcd", kvm_pit_channel_state.bcd],
  ["gate", kvm_pit_channel_state.gate],
];

/** The kernel's `kvm_pit_state2` in QEMU's layout. */
export function saveI8254(pit: Uint8Array): I8254Section {
  const state = new Struct(pit);
  const channels = Array.from({ length: CHANNELS }, (_, i) => {
    const from = state.at(kvm_pit_state2.channels + i * kvm_pit_channel_state.size, kvm_pit_channel_state.size);
    const bytes = Object.fromEntries(bytePlaces.map(([name, offset]) => [name, from.u8(offset)]));
    return {
      count: from.u32(kvm_pit_channel_state.count) | 0,
      latchedCount: from.u16(kvm_pit_channel_state.latched_count),
      ...bytes,
      countLoadTime: from.i64(kvm_pit_channel_state.count_load_time),
      nextTransitionTime: 0n,
    } as Channel;
  });
  return { irqDisabled: state.u32(kvm_pit_state2.flags) & HPET_LEGACY, channels, nextTransitionTime: 0n };
}

/** The kernel's structure with what QEMU's section has; zeros elsewhere. */
export function joinI8254(section: I8254Section): Uint8Array {
  const state = new Struct(kvm_pit_state2.size);
  for (const [i, values] of section.channels.entries()) {
    const to = state.at(kvm_pit_state2.channels + i * kvm_pit_channel_state.size, kvm_pit_channel_state.size);
    to.setU32(kvm_pit_channel_state.count, values.count);
    to.setU16(kvm_pit_channel_state.latched_count, values.latchedCount);
    for (const [name, offset] of bytePlaces) to.setU8(offset, values[name] as number);
    to.setI64(kvm_pit_channel_state.count_load_time, values.countLoadTime);
  }
  state.setU32(kvm_pit_state2.flags, section.irqDisabled & HPET_LEGACY);
  return state.bytes;
}
