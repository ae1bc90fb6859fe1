import type { MachineState } from "../state.js";

/**
 * A value that differs between a state and what is saved again after it was loaded, since it is read from a clock that
 * goes on while nothing runs: `rule` says which one, `without` gives the state without it.
 */
export interface TimeDerived {
  /** Where it stands, as in `vcpus[]/msrs[0x10]`. */
  readonly path: string;
  readonly rule: string;
  without(state: MachineState): MachineState;
}

const MSR_TSC = 0x10;

/** The LAPIC's current count, which the kernel works out when it is read. */
const LAPIC_CURRENT_COUNT = 0x390;
const PIT_CHANNEL_BYTES = 24;
const PIT_LOAD_TIME = 16;

type Vcpu = MachineState["vcpus"][number];
const vcpus = (state: MachineState, change: (vcpu: Vcpu) => Vcpu): MachineState => ({
  ...state,
  vcpus: state.vcpus.map(change),
});

function blank(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return bytes.slice().fill(0, at, at + length);
}

/** All such values of a machine. What is not here must come back bit by bit. */
export const timeDerived: readonly TimeDerived[] = [
  {
    path: "vcpus[]/msrs[0x10]",
    rule: "The TSC is the host's plus an offset: it grows with the host's.",
    without: (state) =>
      vcpus(state, (vcpu) => ({
        ...vcpu,
        msrs: vcpu.msrs.map((msr) => (msr.index === MSR_TSC ? { ...msr, data: 0n } : msr)),
      })),
  },
  {
    path: "vcpus[]/lapic[0x390]",
    rule: "The LAPIC's current count is what is left of the timer's period: it falls as time passes, from the initial count that is saved.",
    without: (state) =>
      vcpus(state, (vcpu) => ({
        ...vcpu,
        lapic: vcpu.lapic === null ? null : blank(vcpu.lapic, LAPIC_CURRENT_COUNT, 4),
      })),
  },
  {
    path: "pit/channels[]/count_load_time",
    rule: "The kernel sets the time at which a PIT's count was loaded to that of the load of the state.",
    without: (state) => ({
      ...state,
      pit: [0, 1, 2].reduce((pit, i) => blank(pit, i * PIT_CHANNEL_BYTES + PIT_LOAD_TIME, 8), state.pit),
    }),
  },
  {
    path: "clock",
    rule: "kvmclock, CLOCK_REALTIME and the host's TSC are read at the save; all of them grow.",
    without: (state) => ({
      ...state,
      clock: { ...state.clock, clockNs: 0n, realtimeNs: null, hostTsc: null },
    }),
  },
];

/** A state without what the {@link timeDerived} table names. */
export function withoutTime(state: MachineState): MachineState {
  return timeDerived.reduce((left, { without }) => without(left), state);
}
