import { MSR_TSC, Struct } from "@baton/core-kvm";
import type { MachineState } from "../state.js";

/**
 * A value that may differ between a state and what is saved again after it was loaded, since it is read from a clock
 * that goes on while nothing runs.
 */
export interface TimeDerived {
  /** Where it stands, as in `vcpus[]/msrs[0x10]`. */
  readonly path: string;
  /** How it follows from time, in words. */
  readonly rule: string;
  /** Whether the rule holds between a state and what was saved later, with nothing run in between. */
  holds(before: MachineState, after: MachineState): boolean;
  /** The state with zeros, or null, in its place. */
  without(state: MachineState): MachineState;
}

/** The LAPIC's registers for the timer's count (Intel SDM 3A, 11.5.4). */
const LAPIC_INITIAL_COUNT = 0x380;
const LAPIC_CURRENT_COUNT = 0x390;
/** `count_load_time` of each channel of `kvm_pit_state2`. */
const PIT_LOAD_TIMES: readonly number[] = [16, 40, 64];

type Vcpu = MachineState["vcpus"][number];

function eachVcpu(state: MachineState, change: (vcpu: Vcpu) => Vcpu): MachineState {
  return { ...state, vcpus: state.vcpus.map(change) };
}

function blank(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return bytes.slice().fill(0, at, at + length);
}

const tscOf = ({ msrs }: Vcpu) => msrs.find(({ index }) => index === MSR_TSC)?.data ?? 0n;
const notLess = (before: bigint | null, after: bigint | null) => before === null || after === null || after >= before;

/** All such values of a machine. What is not here comes back bit by bit. */
export const timeDerived: readonly TimeDerived[] = [
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

/** A state without what the {@link timeDerived} table names. */
export function withoutTime(state: MachineState): MachineState {
  return timeDerived.reduce((left, { without }) => without(left), state);
}
