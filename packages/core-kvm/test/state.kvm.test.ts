import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createIrqchip } from "../src/interrupt/irqchip.js";
import { getClock, setClock } from "../src/x86/clock.js";
import { guestCpuid } from "../src/x86/cpuid.js";
import { getMsrs, setMsrs } from "../src/x86/msr.js";
import {
  getRegisters,
  getTsc,
  getVcpuState,
  setCpuid,
  setRegisters,
  setVcpuState,
  type VcpuState,
} from "../src/x86/state.js";
import { TestMachine } from "./support/kvm.js";

const HLT = 0xf4;
/** MSRs that go on by themselves: TSC, the kvmclock pages' and TSC's adjustments. */
const TIME = [0x10, 0x3b, 0x6e0];
/** The header of the XSAVE area: which of its parts are not in their initial state. */
const XSTATE_BV = 512;
const LAPIC_CURRENT_COUNT = 0x390;

/** A machine with interrupt controllers and a CPUID, as guests have them. */
function machine(): TestMachine {
  const made = new TestMachine([HLT], createIrqchip);
  const topology = { sockets: 1, dies: 1, cores: 1, threads: 1 };
  setCpuid(made.vcpu, guestCpuid(made.kvm.supportedCpuid(), { topology, apicId: 0, tscDeadline: false }));
  return made;
}

/** A state without what goes on by itself. */
function still(state: VcpuState): unknown {
  const lapic = state.lapic?.slice();
  lapic?.fill(0, LAPIC_CURRENT_COUNT, LAPIC_CURRENT_COUNT + 4);
  const { tscOffset: _, ...rest } = state;
  return { ...rest, lapic, msrs: state.msrs.filter((msr) => !TIME.includes(msr.index)) };
}

/** Some software KVMs give guests the host's counter as it is. */
function tscCanBeSet(): boolean {
  using made = machine();
  const far = getTsc(made.vcpu) + (1n << 45n);
  setMsrs(made.vcpu, [{ index: 0x10, data: far }]);
  return getTsc(made.vcpu) >= far;
}

describeKvm("a vCPU's state", () => {
  it("is the same after it was carried to a fresh vCPU", () => {
    using first = machine();
    using second = machine();
    const { vcpu } = first;
    setRegisters(vcpu, {
      ...getRegisters(vcpu),
      rax: 0x1122_3344_5566_7788n,
      r15: 0xffff_ffff_ffff_ffffn,
      rflags: 0x46n,
    });
    const state = getVcpuState(vcpu);
    const xsave = state.xsave.slice();
    // Another rounding mode in the FPU's control word, and the bit that says that the FPU is in use.
    xsave.set([0x7f, 0x02], 0);
    xsave.set([1], XSTATE_BV);
    const changed: VcpuState = { ...state, xsave, debugRegisters: { ...state.debugRegisters, db0: 0x1234n } };
    setVcpuState(second.vcpu, changed);
    const carried = getVcpuState(second.vcpu);
    expect(still(carried)).toEqual(still(changed));
    expect(structuredClone(carried)).toEqual(carried);
  });

  it("runs on where the other stopped, its time stamp counter never behind", () => {
    using first = machine();
    using second = machine();
    // mov ax, 7; hlt; inc ax; out 0x42, al
    const guest = Uint8Array.of(0xb8, 7, 0, 0xe6, 0x41, 0x40, 0xe6, 0x42);
    for (const { memory } of [first, second]) memory.write(0x1000n, guest);
    expect(first.vcpu.run()).toMatchObject({ reason: "io-out", port: 0x41 });
    first.vcpu.completeExit();
    const tsc = getTsc(first.vcpu);
    setVcpuState(second.vcpu, getVcpuState(first.vcpu));
    expect(getTsc(second.vcpu)).toBeGreaterThanOrEqual(tsc);
    const exit = second.vcpu.run();
    expect(exit).toMatchObject({ reason: "io-out", port: 0x42 });
    if (exit.reason === "io-out") expect([...exit.data]).toEqual([8]);
  });

  const settable = tscCanBeSet();
  const reason = settable ? "" : " (skipped: KVM on this host ignores writes to the TSC)";
  (settable ? it : it.skip)(`keeps the counter's value rather than its offset, where asked to${reason}`, () => {
    using first = machine();
    using second = machine();
    const state = getVcpuState(first.vcpu);
    const far = state.msrs.map((msr) => (msr.index === 0x10 ? { ...msr, data: msr.data + (1n << 45n) } : msr));
    setVcpuState(second.vcpu, { ...state, msrs: far }, { tsc: "value" });
    const value = far.find((msr) => msr.index === 0x10)?.data as bigint;
    expect(getTsc(second.vcpu)).toBeGreaterThanOrEqual(value);
    expect(getTsc(second.vcpu) - value).toBeLessThan(1n << 40n);
  });

  it("is refused, naming the MSR or what is too large, where this host cannot have it", () => {
    using made = machine();
    const state = getVcpuState(made.vcpu);
    expect(() => setMsrs(made.vcpu, [{ index: 0x4000_1234, data: 1n }])).toThrow(
      expect.objectContaining({ code: "KVM_MSR_REFUSED", message: expect.stringContaining("0x40001234") }),
    );
    const xsave = new Uint8Array(1 << 20);
    expect(() => setVcpuState(made.vcpu, { ...state, xsave })).toThrow(
      expect.objectContaining({ code: "CPU_XSAVE_SIZE" }),
    );
    const tscKhz = (state.tscKhz ?? 1_000_000) * 3;
    if (made.kvm.capability("TSC_CONTROL") === 0) {
      const slow = () => setVcpuState(made.vcpu, { ...state, tscKhz });
      expect(slow).toThrow(expect.objectContaining({ code: "CPU_TSC_FREQUENCY" }));
    }
  });

  it("leaves out MSRs that the host refuses, and reads the others", () => {
    using made = machine();
    const read = getMsrs(made.vcpu, [0x4000_1234, 0x10, 0x4000_1235, 0x277, 0x4000_1236]);
    expect(read.map((msr) => msr.index)).toEqual([0x10, 0x277]);
    expect(getMsrs(made.vcpu, [])).toEqual([]);
  });
});

describeKvm("the VM's clock", () => {
  it("goes on from the value that it is set to", () => {
    using made = machine();
    const wanted = 3600n * 1_000_000_000n;
    setClock(made.vm, { clockNs: wanted, flags: 0, realtimeNs: null, hostTsc: null, bootId: "" }, { advance: false });
    const { clockNs } = getClock(made.vm);
    expect(clockNs).toBeGreaterThanOrEqual(wanted);
    expect(clockNs - wanted).toBeLessThan(1_000_000_000n);
  });

  it("counts the time since the state was read, where asked to and where the host tells it", () => {
    using made = machine();
    const state = getClock(made.vm);
    const anHour = 3600n * 1_000_000_000n;
    if (state.realtimeNs === null) return;
    const old = { ...state, realtimeNs: state.realtimeNs - anHour };
    setClock(made.vm, old, { advance: true });
    expect(getClock(made.vm).clockNs - state.clockNs).toBeGreaterThanOrEqual(anHour);
    setClock(made.vm, old, { advance: false });
    expect(getClock(made.vm).clockNs - state.clockNs).toBeLessThan(anHour);
  });
});
