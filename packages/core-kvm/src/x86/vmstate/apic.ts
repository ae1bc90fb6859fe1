import { array, i32, i64, named, PRIORITY, type StateOf, u8, u32, vmstate } from "@baton/migration/vmstate";
import { kvm_lapic_state } from "../../abi/kvm.js";
import { Struct } from "../../struct.js";

/**
 * QEMU's section `apic`, version 3: the LAPIC of each vCPU, by its APIC id. The registers that it has no room for, and
 * the exact bytes of the page, are patches in `baton/vcpu`; so is the upper half of the base, whose whole counts on load.
 * The count's shift and the three times are QEMU's own: they are written as 0 and mean nothing on load.
 * QEMU: hw/intc/apic_common.c.
 */
export const apicVmstate = vmstate({
  name: "apic",
  version: 3,
  priority: PRIORITY.apic,
  fields: {
    base: named("apicbase", u32),
    id: u8,
    arbitrationId: named("arb_id", u8),
    tpr: u8,
    spurious: named("spurious_vec", u32),
    logicalDestination: named("log_dest", u8),
    destinationMode: named("dest_mode", u8),
    isr: array(8, u32),
    tmr: array(8, u32),
    irr: array(8, u32),
    /** Timer, thermal, performance, LINT0, LINT1, error. */
    lvt: array(6, u32),
    esr: u32,
    icr: array(2, u32),
    divide: named("divide_conf", u32),
    countShift: named("count_shift", i32),
    initialCount: named("initial_count", u32),
    initialCountLoadTime: named("initial_count_load_time", i64),
    nextTime: named("next_time", i64),
    timerExpiry: named("timer_expiry", i64),
  },
  subsections: {
    sipi: vmstate({
      name: "apic_sipi",
      version: 1,
      fields: { vector: named("sipi_vector", i32), wait: named("wait_for_sipi", i32) },
    }),
  },
});

/** A LAPIC in QEMU's layout. */
export type ApicSection = StateOf<typeof apicVmstate>;

/** The offset of a register in the page: one in 16 bytes (Intel SDM 3A, table 11-1). */
const at = (register: number) => register * 16;
const ID = at(0x2);
const TPR = at(0x8);
const LDR = at(0xd);
const DFR = at(0xe);
const SPURIOUS = at(0xf);
const ISR = at(0x10);
const TMR = at(0x18);
const IRR = at(0x20);
const ESR = at(0x28);
const ICR = at(0x30);
const LVT = at(0x32);
const INITIAL_COUNT = at(0x38);
const DIVIDE = at(0x3e);

/** The LAPIC's page in QEMU's layout; `base` is its address and flags. */
export function saveApic(page: Uint8Array, base: bigint): ApicSection {
  const registers = new Struct(page);
  const words = (from: number, count: number) => Array.from({ length: count }, (_, i) => registers.u32(from + i * 16));
  const id = registers.u8(ID + 3);
  return {
    base: Number(base & 0xffff_ffffn),
    id,
    arbitrationId: id,
    tpr: registers.u8(TPR),
    spurious: registers.u32(SPURIOUS),
    logicalDestination: registers.u8(LDR + 3),
    destinationMode: registers.u8(DFR + 3) >> 4,
    isr: words(ISR, 8),
    tmr: words(TMR, 8),
    irr: words(IRR, 8),
    lvt: words(LVT, 6),
    esr: registers.u32(ESR),
    icr: words(ICR, 2),
    divide: registers.u32(DIVIDE),
    countShift: 0,
    initialCount: registers.u32(INITIAL_COUNT),
    initialCountLoadTime: 0n,
    nextTime: 0n,
    timerExpiry: 0n,
  };
}

/** A LAPIC's page with what QEMU's section has; zeros elsewhere. */
export function joinApic(section: ApicSection): Uint8Array {
  const registers = new Struct(kvm_lapic_state.size);
  const words = (from: number, values: readonly number[]) => {
    for (const [i, value] of values.entries()) registers.setU32(from + i * 16, value);
  };
  registers.setU8(ID + 3, section.id).setU8(TPR, section.tpr);
  registers.setU8(LDR + 3, section.logicalDestination).setU8(DFR + 3, (section.destinationMode << 4) | 0xf);
  words(SPURIOUS, [section.spurious]);
  words(ISR, section.isr);
  words(TMR, section.tmr);
  words(IRR, section.irr);
  words(LVT, section.lvt);
  words(ESR, [section.esr]);
  words(ICR, section.icr);
  words(INITIAL_COUNT, [section.initialCount]);
  words(DIVIDE, [section.divide]);
  return registers.bytes;
}
