import { MSR_TSC, Struct } from "@baton/core-kvm";
import type { MachineState } from "../state.js";

/**
 * A value that may differ between a state and what is saved again after it was loaded: it is read from a clock that goes
 * on while nothing runs, or the kernel works it out anew from others.
 */
export interface DerivedValue {
  /** Where it stands, as in `vcpus[]/msrs[0x10]`. */
  readonly path: string;
  /** How it follows from time or other values, in words. */
  readonly rule: string;
  /** Whether the rule holds between a state and what was saved later, with nothing run in between. */
  holds(before: MachineState, after: MachineState): boolean;
  /** The state with zeros, or null, in its place. */
  without(state: MachineState): MachineState;
}

/** The LAPIC's registers for the timer's count (Intel SDM 3A, 11.5.4). */
const LAPIC_INITIAL_COUNT = 0x380;
const LAPIC_CURRENT_COUNT = 0x390;
/** The LAPIC's priorities: the task's, the processor's, and the first word of the vectors in service. */
const LAPIC_TPR = 0x80;
const LAPIC_PPR = 0xa0;
const LAPIC_ISR = 0x100;
/** `count_load_time` of each channel of `kvm_pit_state2`. */
const PIT_LOAD_TIMES: readonly number[] = [16, 40, 64];

type Vcpu = MachineState["vcpus"][number];

function eachVcpu(state: MachineState, change: (vcpu: Vcpu) => Vcpu): MachineState {
  return { ...state, vcpus: state.vcpus.map(change) };
}

/** The processor's priority: that of the task or of the highest vector in service (Intel SDM 3A, 11.8.3.1). */
function processorPriority(page: Struct): number {
  let inService = 0;
  for (let vector = 0; vector < 256; vector++) {
    if ((page.u32(LAPIC_ISR + (vector >> 5) * 16) >>> (vector & 31)) & 1) inService = vector;
  }
  const task = page.u32(LAPIC_TPR) & 0xff;
  return (task & 0xf0) >= (inService & 0xf0) ? task : inService & 0xf0;
}

function blank(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return bytes.slice().fill(0, at, at + length);
}

const tscOf = ({ msrs }: Vcpu) => msrs.find(({ index }) => index === MSR_TSC)?.data ?? 0n;
const notLess = (before: bigint | null, after: bigint | null) => before === null || after === null || after >= before;

/** All such values of a machine. What is not here comes back bit by bit. */
export const derivedValues: readonly DerivedValue[] = [
  {
    path: "vcpus[]/msrs[0x10]",
    rule: "The TSC is the host's and an offset: it grows.",
    holds: (before, after) => before.vcpus.every((vcpu, i) => tscOf(after.vcpus[i] as Vcpu) >= tscOf(vcpu)),
    without: (state) =>
      eachVcpu(state, (vcpu) => ({
        ...vcpu,
        msrs: vcpu.msrs.map((msr) => (msr.index === MSR_TSC ? { ...msr, data: 0n } : msr)),
      })),
  },
  {
    path: "vcpus[]/lapic[0x390]",
    rule: "The LAPIC's current count is what is left of the initial count, and never more.",
    holds: (_before, after) =>
      after.vcpus.every(({ lapic }) => {
        if (lapic === null) return true;
        const page = new Struct(lapic);
        return page.u32(LAPIC_CURRENT_COUNT) <= page.u32(LAPIC_INITIAL_COUNT);
      }),
    without: (state) =>
      eachVcpu(state, (vcpu) => ({
        ...vcpu,
        lapic: vcpu.lapic === null ? null : blank(vcpu.lapic, LAPIC_CURRENT_COUNT, 4),
      })),
  },
  {
    path: "vcpus[]/lapic[0xa0]",
    rule: "The processor's priority follows from the task's and the vectors in service, which KVM counts only after it has loaded the page: until an interrupt is due it may be the task's alone.",
    holds: (_before, after) =>
      after.vcpus.every(({ lapic }) => {
        if (lapic === null) return true;
        const page = new Struct(lapic);
        const priority = page.u32(LAPIC_PPR);
        return priority === page.u32(LAPIC_TPR) || priority === processorPriority(page);
      }),
    without: (state) =>
      eachVcpu(state, (vcpu) => ({ ...vcpu, lapic: vcpu.lapic === null ? null : blank(vcpu.lapic, LAPIC_PPR, 4) })),
  },
  {
    path: "pit/channels[]/count_load_time",
    rule: "The kernel loads the PIT's counts anew with the state: the time of that is later.",
    holds: (before, after) =>
      PIT_LOAD_TIMES.every((at) => new Struct(after.pit).i64(at) >= new Struct(before.pit).i64(at)),
    without: (state) => ({ ...state, pit: PIT_LOAD_TIMES.reduce((pit, at) => blank(pit, at, 8), state.pit) }),
  },
  {
    path: "clock/clockNs, realtimeNs, hostTsc",
    rule: "kvmclock and the host's clocks are read at the save: they grow.",
    holds: ({ clock: before }, { clock: after }) =>
      after.clockNs >= before.clockNs &&
      notLess(before.realtimeNs, after.realtimeNs) &&
      notLess(before.hostTsc, after.hostTsc),
    without: (state) => ({ ...state, clock: { ...state.clock, clockNs: 0n, realtimeNs: null, hostTsc: null } }),
  },
];

/** A state without what the {@link derivedValues} table names. */
export function withoutDerived(state: MachineState): MachineState {
  return derivedValues.reduce((left, { without }) => without(left), state);
}
