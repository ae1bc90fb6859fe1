import { drainEventfd, eventfd, signalEventfd, view } from "@baton/linux";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { assignIoeventfd, deassignIoeventfd, type Ioeventfd, setCoalesced } from "../src/interrupt/ioeventfd.js";
import {
  createIrqchip,
  createPit,
  createSplitIrqchip,
  getIrqchip,
  getPit,
  setIrqchip,
  setIrqLine,
  setPit,
} from "../src/interrupt/irqchip.js";
import { assignIrqfd, deassignIrqfd } from "../src/interrupt/irqfd.js";
import { GsiRouting, signalMsi } from "../src/interrupt/routing.js";
import type { Vcpu } from "../src/vcpu.js";
import { getVcpuState, setVcpuState } from "../src/x86/state.js";
import { TestMachine, until } from "./support/kvm.js";

const HLT = 0xf4;
/** `mov dx, port; mov ax, value; out dx, al; out dx, ax; hlt`. */
const outs = (port: number, value: number) => [
  ...[0xba, port & 0xff, port >> 8, 0xb8, value & 0xff, value >> 8, 0xee, 0xef, HLT],
];
const PIC_IRR = 1;
const LAPIC_SVR = 0xf0;
const LAPIC_IRR = 0x200;

/** Software-enables the LAPIC, so that it takes messages. */
function enableLapic(vcpu: Vcpu): void {
  const state = getVcpuState(vcpu);
  if (state.lapic === null) throw new Error("there is no LAPIC in the kernel");
  const lapic = state.lapic.slice();
  lapic.set([0xff, 0x01], LAPIC_SVR);
  setVcpuState(vcpu, { ...state, lapic });
}

/** The vectors that wait in the LAPIC. */
function pending(vcpu: Vcpu): number[] {
  const lapic = getVcpuState(vcpu).lapic as Uint8Array;
  const bit = (vector: number) =>
    (lapic[LAPIC_IRR + (vector >> 5) * 16 + ((vector & 31) >> 3)] as number) >> (vector & 7);
  return Array.from({ length: 256 }, (_, vector) => vector).filter((vector) => bit(vector) & 1);
}

describeKvm("ioeventfd", () => {
  const count = (doorbell: Omit<Ioeventfd, "eventfd" | "space" | "address">) => {
    using machine = new TestMachine(outs(0x600, 0x1234));
    using bell = eventfd({ nonblock: true });
    const assignment = { eventfd: bell, space: "pio", address: 0x600n, ...doorbell } as const;
    assignIoeventfd(machine.vm, assignment);
    const exits: string[] = [];
    for (let exit = machine.vcpu.run(); exit.reason !== "hlt"; exit = machine.vcpu.run()) {
      exits.push(exit.reason === "io-out" ? `${exit.size}` : exit.reason);
    }
    const rings = Number(drainEventfd(bell));
    deassignIoeventfd(machine.vm, assignment);
    machine.enter();
    expect(machine.vcpu.run()).toMatchObject({ reason: "io-out" });
    return { rings, exits };
  };

  it("takes writes of its width and value instead of an exit, and gives them back", () => {
    expect(count({ length: 0 })).toEqual({ rings: 2, exits: [] });
    expect(count({ length: 1 })).toEqual({ rings: 1, exits: ["2"] });
    expect(count({ length: 2 })).toEqual({ rings: 1, exits: ["1"] });
    expect(count({ length: 2, datamatch: 0x1234n })).toEqual({ rings: 1, exits: ["1"] });
    expect(count({ length: 2, datamatch: 0x1235n })).toEqual({ rings: 0, exits: ["1", "2"] });
  });

  it("works for memory", () => {
    // mov [0x10], ax; hlt
    using machine = new TestMachine([0xa3, 0x10, 0x00, HLT]);
    machine.enter(0xd000_0000n);
    using bell = eventfd({ nonblock: true });
    assignIoeventfd(machine.vm, { eventfd: bell, space: "mmio", address: 0xd000_0010n, length: 2 });
    expect(machine.vcpu.run()).toEqual({ reason: "hlt" });
    expect(Number(drainEventfd(bell))).toBe(1);
  });
});

describeKvm("coalesced I/O", () => {
  it("gathers writes in the ring until it is turned off", () => {
    // mov [0], al three times; hlt
    using machine = new TestMachine([...[0xa2, 0, 0], ...[0xa2, 0, 0], ...[0xa2, 0, 0], HLT]);
    const { vm, vcpu, kvm } = machine;
    const zone = { space: "mmio", address: 0xd000_0000n, length: 0x1000 } as const;
    setCoalesced(vm, zone, true);
    machine.enter(0xd000_0000n);
    expect(vcpu.run()).toEqual({ reason: "hlt" });
    const ring = new Uint32Array(view(vcpu.runHva + BigInt(kvm.capability("COALESCED_MMIO") * 4096), 8));
    expect([...ring]).toEqual([0, 3]);
    setCoalesced(vm, zone, false);
    machine.enter(0xd000_0000n);
    expect(vcpu.run()).toMatchObject({ reason: "mmio-write", gpa: 0xd000_0000n });
  });
});

describeKvm("interrupt controllers", () => {
  it("get interrupts from lines and irqfds, and none after the irqfd is gone", async () => {
    using machine = new TestMachine([HLT], createIrqchip);
    const { vm } = machine;
    const requested = () => getIrqchip(vm).picMaster[PIC_IRR] as number;
    setIrqLine(vm.fd.raw, 3, true);
    setIrqLine(vm.fd.raw, 3, false);
    expect(requested()).toBe(1 << 3);
    using line = eventfd({ nonblock: true });
    using late = eventfd({ nonblock: true });
    assignIrqfd(vm, { gsi: 5, eventfd: line });
    assignIrqfd(vm, { gsi: 6, eventfd: late });
    signalEventfd(line);
    await until(() => requested() === ((1 << 3) | (1 << 5)), "the interrupt");
    deassignIrqfd(vm, { gsi: 6, eventfd: late });
    signalEventfd(late);
    // The other one comes after it: had this one come, it would be there by then.
    assignIrqfd(vm, { gsi: 7, eventfd: late });
    signalEventfd(line);
    await until(() => (requested() & (1 << 7)) !== 0, "the interrupt of an eventfd that was signalled before");
    expect(requested()).toBe((1 << 3) | (1 << 5) | (1 << 7));
  });

  it("are carried over by their state", () => {
    const both = (vm: Parameters<typeof createIrqchip>[0]) => {
      createIrqchip(vm);
      createPit(vm);
    };
    using first = new TestMachine([HLT], both);
    using second = new TestMachine([HLT], both);
    setIrqLine(first.vm.fd.raw, 4, true);
    const state = getIrqchip(first.vm);
    expect(getIrqchip(second.vm)).not.toEqual(state);
    setIrqchip(second.vm, state);
    expect(getIrqchip(second.vm)).toEqual(state);
    const pit = getPit(first.vm);
    expect(pit.length).toBe(112);
    setPit(second.vm, pit);
    expect(getPit(second.vm).length).toBe(112);
  });

  it("take messages that are sent at once, and by irqfd through the routing table", async () => {
    using machine = new TestMachine([HLT], createIrqchip);
    const { vm, vcpu } = machine;
    enableLapic(vcpu);
    expect(signalMsi(vm, { address: 0xfee0_0000n, data: 0x51 })).toBe(true);
    expect(pending(vcpu)).toEqual([0x51]);
    const routing = new GsiRouting(vm);
    const [first, second] = [0x61, 0x62].map((data) => routing.allocate({ address: 0xfee0_0000n, data }));
    expect([first, second]).toEqual([24, 25]);
    routing.commit();
    using line = eventfd({ nonblock: true });
    assignIrqfd(vm, { gsi: second as number, eventfd: line });
    signalEventfd(line);
    await until(() => pending(vcpu).includes(0x62), "the message");
    routing.update(second as number, { address: 0xfee0_0000n, data: 0x63 });
    routing.commit();
    signalEventfd(line);
    await until(() => pending(vcpu).includes(0x63), "the changed message");
    routing.release(first as number);
    expect(routing.allocate({ address: 0xfee0_0000n, data: 0x64 })).toBe(24);
    // Lines still work: the table was replaced as a whole.
    setIrqLine(vm.fd.raw, 3, true);
    expect((getIrqchip(vm).picMaster[PIC_IRR] as number) & 8).toBe(8);
    expect(pending(vcpu)).toEqual([0x51, 0x62, 0x63]);
  });

  it("can be split: LAPICs in the kernel, everything else by message", async () => {
    using machine = new TestMachine([HLT], (vm) => createSplitIrqchip(vm, 24));
    const { vm, vcpu } = machine;
    expect(() => getIrqchip(vm)).toThrow(expect.objectContaining({ code: "SYSCALL_FAILED" }));
    enableLapic(vcpu);
    const routing = new GsiRouting(vm, { inKernelChips: false });
    const gsi = routing.allocate({ address: 0xfee0_0000n, data: 0x71 });
    expect(gsi).toBe(0);
    routing.commit();
    using line = eventfd({ nonblock: true });
    assignIrqfd(vm, { gsi, eventfd: line });
    signalEventfd(line);
    await until(() => pending(vcpu).includes(0x71), "the message");
    expect(signalMsi(vm, { address: 0xfee0_0000n, data: 0x72 })).toBe(true);
    expect(pending(vcpu)).toEqual([0x71, 0x72]);
  });
});
