import { setTimeout as delay } from "node:timers/promises";
import { GuestMemory, RamBlock } from "@baton/memory";
import { Kvm } from "../../src/kvm.js";
import type { Vcpu } from "../../src/vcpu.js";
import type { Vm } from "../../src/vm.js";
import { resetRegisters } from "../../src/x86/boot/segments.js";
import { getSpecialRegisters, setRegisters, setSpecialRegisters } from "../../src/x86/state.js";

/** Where a {@link TestMachine}'s code starts and where its data segment begins. */
export const CODE = 0x1000n;
export const DATA = 0x10000n;

/** A VM of one vCPU in real mode: 64 KiB of code and stack, and RAM from {@link DATA} on, which `ds` points to. */
export class TestMachine implements Disposable {
  readonly kvm = Kvm.open();
  readonly block = RamBlock.create({ id: "ram", size: 1n << 20n, backend: { kind: "memfd" } });
  readonly memory = GuestMemory.layout([this.block]);
  readonly vm: Vm;
  readonly vcpu: Vcpu;

  /** `prepare` runs before the vCPU is made, for interrupt controllers. */
  constructor(code: readonly number[], prepare: (vm: Vm) => void = () => {}) {
    this.vm = this.kvm.createVm();
    this.vm.setMemory(this.memory);
    prepare(this.vm);
    this.vcpu = this.vm.createVcpu(0);
    this.memory.write(CODE, Uint8Array.from(code));
    this.enter();
  }

  /** Puts the vCPU before the first instruction. */
  enter(dsBase = DATA): void {
    const special = getSpecialRegisters(this.vcpu);
    const ds = { ...special.ds, base: dsBase, selector: Number((dsBase >> 4n) & 0xffffn) };
    setSpecialRegisters(this.vcpu, { ...special, cs: { ...special.cs, base: 0n, selector: 0 }, ds });
    setRegisters(this.vcpu, { ...resetRegisters, rip: CODE, rsp: 0xff00n });
  }

  [Symbol.dispose](): void {
    this.vm.close();
    this.kvm.close();
    this.block.close();
  }
}

/** Polls until `condition` holds. */
export async function until(condition: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await delay(2);
  }
}
