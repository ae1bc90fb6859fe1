import { qemuCodec, type Vmstate } from "@baton/migration/vmstate";
import { afterAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import {
  apicVmstate,
  cpuVmstate,
  createIrqchip,
  createPit,
  getClock,
  getIrqchip,
  getPit,
  getVcpuState,
  guestCpuid,
  i8254Vmstate,
  i8259Vmstate,
  ioapicVmstate,
  joinChips,
  joinClock,
  joinVcpu,
  Kvm,
  kvmclockVmstate,
  ownChipsVmstate,
  ownClockVmstate,
  ownVcpuVmstate,
  saveChips,
  saveClock,
  saveVcpu,
  setCpuid,
  setIrqchip,
  setPit,
  setVcpuState,
  type VcpuState,
} from "../src/index.js";

function through<S>(descriptor: Vmstate<S>, state: S): S {
  return qemuCodec.decode(descriptor, qemuCodec.encode(descriptor, state));
}

function moved(state: VcpuState): VcpuState {
  const { cpu, apic, own } = saveVcpu(state);
  return joinVcpu({
    cpu: through(cpuVmstate, cpu),
    apic: through(apicVmstate, apic),
    own: through(ownVcpuVmstate, own),
  });
}

/** Other bytes everywhere but where the kernel's layout says what they are. */
function scrambled(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte, i) => (byte + i * 7 + 13) & 0xff);
}

describeKvm("sections of a vCPU and of the chips", () => {
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  afterAll(() => {
    vm.close();
    kvm.close();
  });
  createIrqchip(vm);
  createPit(vm);
  const vcpu = vm.createVcpu(0);
  const topology = { sockets: 1, dies: 1, cores: 1, threads: 1 };
  setCpuid(vcpu, guestCpuid(kvm.supportedCpuid(), { topology, apicId: 0, tscDeadline: false }));
  const state = getVcpuState(vcpu);
  const chips = { irqchip: getIrqchip(vm), pit: getPit(vm) };
  const clock = getClock(vm);

  it("give the state of a fresh vCPU back", () => {
    expect(moved(state)).toEqual(state);
  });

  it("give every bit back, whatever the registers hold", () => {
    const odd: VcpuState = {
      ...state,
      mpState: 3,
      registers: { ...state.registers, rax: 1n, rsp: 2n ** 64n - 1n, r15: 3n },
      specialRegisters: {
        ...state.specialRegisters,
        cr8: 5n,
        apicBase: 0x12_fee0_0900n,
        pdptrs: [1n, 2n, 3n, 4n],
        gs: { ...state.specialRegisters.gs, unusable: 1, dpl: 3, type: 15, l: 1, db: 1, g: 1, avl: 1 },
      },
      xsave: scrambled(state.xsave),
      lapic: scrambled(state.lapic ?? new Uint8Array(1024)),
      msrs: state.msrs.map(({ index, data }, i) => ({ index, data: data ^ (BigInt(i) << 40n) })),
      xcrs: [
        { xcr: 0, value: 7n },
        { xcr: 1, value: 1n },
      ],
      tscKhz: 2_500_000,
      tscOffset: -(2n ** 63n),
      events: { ...state.events, interruptInjected: 1, interruptNr: 33, exceptionNr: 14, smiSmm: 1 },
    };
    expect(moved(odd)).toEqual(odd);
    const bare: VcpuState = { ...state, lapic: null, tscKhz: null, tscOffset: null, xcrs: [], msrs: [] };
    expect(moved(bare)).toEqual(bare);
  });

  it("have each MSR once", () => {
    const { cpu, own } = saveVcpu(state);
    const tsc = own.msrs.find(({ index }) => index === 0x10);
    expect(tsc).toEqual({ index: 0x10, inCpu: true, data: 0n });
    expect(cpu.tsc).toBe(state.msrs.find(({ index }) => index === 0x10)?.data);
  });

  it("are refused where they make no state", () => {
    const { cpu, apic, own } = saveVcpu(state);
    const invalid = expect.objectContaining({ code: "STATE_INVALID" });
    const msrs = [{ index: 0x1234, inCpu: true, data: 0n }];
    expect(() => joinVcpu({ cpu, apic, own: { ...own, msrs } })).toThrow(invalid);
    expect(() => joinVcpu({ cpu: { ...cpu, idt: { ...cpu.idt, limit: 0x10000 } }, apic, own })).toThrow(invalid);
    expect(() => joinVcpu({ cpu: { ...cpu, tscKhz: { value: -1n } }, apic, own })).toThrow(invalid);
    const lapic = [{ at: 1020, length: 5, bytes: new Uint8Array(5) }];
    expect(() => joinVcpu({ cpu, apic, own: { ...own, lapic } })).toThrow("the LAPIC");
    expect(() => through(ownVcpuVmstate, { ...own, xsaveBytes: 2 ** 31 })).toThrow("XSAVE area of 2147483648 bytes");
  });

  it("never hand the kernel bytes of another length", () => {
    const invalid = expect.objectContaining({ code: "STATE_INVALID" });
    const short = new Uint8Array(10);
    expect(() => setPit(vm, short)).toThrow(invalid);
    expect(() => setIrqchip(vm, { ...chips.irqchip, ioapic: new Uint8Array(513) })).toThrow(invalid);
    expect(() => setVcpuState(vcpu, { ...state, lapic: short })).toThrow(invalid);
    const xcrs = Array.from({ length: 17 }, (_, xcr) => ({ xcr, value: 1n }));
    expect(() => setVcpuState(vcpu, { ...state, xcrs })).toThrow(invalid);
  });

  it("give chips and clock back, byte for byte", () => {
    for (const each of [
      chips,
      {
        irqchip: {
          picMaster: scrambled(chips.irqchip.picMaster),
          picSlave: scrambled(chips.irqchip.picSlave),
          ioapic: scrambled(chips.irqchip.ioapic),
        },
        pit: scrambled(chips.pit),
      },
    ]) {
      const sections = saveChips(each);
      expect(
        joinChips({
          picMaster: through(i8259Vmstate, sections.picMaster),
          picSlave: through(i8259Vmstate, sections.picSlave),
          ioapic: through(ioapicVmstate, sections.ioapic),
          pit: through(i8254Vmstate, sections.pit),
          own: through(ownChipsVmstate, sections.own),
        }),
      ).toEqual(each);
    }
    for (const each of [clock, { ...clock, realtimeNs: 5n, hostTsc: null }]) {
      const { kvmclock, own } = saveClock(each);
      expect(joinClock({ kvmclock: through(kvmclockVmstate, kvmclock), own: through(ownClockVmstate, own) })).toEqual(
        each,
      );
    }
  });
});
