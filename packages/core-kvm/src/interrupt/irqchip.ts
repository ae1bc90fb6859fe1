import { ioctl, tryIoctlPtr } from "@baton/linux";
import {
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_GET_IRQCHIP,
  KVM_GET_PIT2,
  KVM_IRQ_LINE,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
  KVM_PIT_SPEAKER_DUMMY,
  KVM_SET_IRQCHIP,
  KVM_SET_PIT2,
  kvm_irq_level,
  kvm_irqchip,
  kvm_pit_config,
  kvm_pit_state2,
} from "../abi/kvm.js";
import { checkStateBytes } from "../state-bytes.js";
import { Struct } from "../struct.js";
import type { Vm } from "../vm.js";

/** Makes the IOAPIC, both 8259 PICs and a LAPIC per vCPU in the kernel; before the first vCPU (KVM API 4.24). */
export function createIrqchip(vm: Vm): void {
  ioctl(vm.fd, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
}

/**
 * Leaves the IOAPIC and PICs to the VMM and makes LAPICs alone in the kernel; before the first vCPU (KVM API 7.5).
 * `routes` is how many GSIs the VMM's IOAPIC has; the guest's EOIs of them exit as `ioapic-eoi`.
 */
export function createSplitIrqchip(vm: Vm, routes: number): void {
  vm.enableCapability("SPLIT_IRQCHIP", [BigInt(routes)]);
}

/** Makes the 8254 timer in the kernel, with port 0x61 answered there; after {@link createIrqchip} (KVM API 4.71). */
export function createPit(vm: Vm): void {
  const config = new Struct(kvm_pit_config.size).setU32(kvm_pit_config.flags, KVM_PIT_SPEAKER_DUMMY);
  ioctl(vm.fd, KVM_CREATE_PIT2, config.bytes, "KVM_CREATE_PIT2");
}

const lineScratch = new Struct(kvm_irq_level.size);

/** Sets an interrupt line of the in-kernel controllers; callable from any thread that knows the VM's descriptor (KVM API 4.25). */
export function setIrqLine(vmFd: number, gsi: number, level: boolean): void {
  lineScratch.setU32(kvm_irq_level.irq, gsi).setU32(kvm_irq_level.level, level ? 1 : 0);
  tryIoctlPtr(vmFd, KVM_IRQ_LINE, lineScratch.bytes);
}

/** The state of the in-kernel chips: the kernel's `kvm_irqchip` unions and `kvm_pit_state2`, byte for byte. */
export interface IrqchipState {
  readonly picMaster: Uint8Array;
  readonly picSlave: Uint8Array;
  readonly ioapic: Uint8Array;
}

/** The kernel's union of chips, in bytes. */
export const CHIP_BYTES = kvm_irqchip.size - kvm_irqchip.chip;

const chips = [
  ["picMaster", KVM_IRQCHIP_PIC_MASTER],
  ["picSlave", KVM_IRQCHIP_PIC_SLAVE],
  ["ioapic", KVM_IRQCHIP_IOAPIC],
] as const;

/** Reads both PICs and the IOAPIC (KVM API 4.26). */
export function getIrqchip(vm: Vm): IrqchipState {
  const state: Record<string, Uint8Array> = {};
  for (const [name, id] of chips) {
    const chip = new Struct(kvm_irqchip.size).setU32(kvm_irqchip.chip_id, id);
    ioctl(vm.fd, KVM_GET_IRQCHIP, chip.bytes, `KVM_GET_IRQCHIP ${name}`);
    state[name] = chip.bytes.slice(kvm_irqchip.chip);
  }
  return state as unknown as IrqchipState;
}

/** Sets the IOAPIC, then both PICs (KVM API 4.27). Throws `STATE_INVALID` for bytes of another length. */
export function setIrqchip(vm: Vm, state: IrqchipState): void {
  for (const [name, id] of [...chips].reverse()) {
    checkStateBytes(name, state[name], CHIP_BYTES);
    const chip = new Struct(kvm_irqchip.size).setU32(kvm_irqchip.chip_id, id);
    chip.bytes.set(state[name], kvm_irqchip.chip);
    ioctl(vm.fd, KVM_SET_IRQCHIP, chip.bytes, `KVM_SET_IRQCHIP ${name}`);
  }
}

/** Reads the 8254 (KVM API 4.72): `kvm_pit_state2`, 112 bytes. */
export function getPit(vm: Vm): Uint8Array {
  const state = new Uint8Array(kvm_pit_state2.size);
  ioctl(vm.fd, KVM_GET_PIT2, state, "KVM_GET_PIT2");
  return state;
}

/** Sets the 8254 (KVM API 4.73). Throws `STATE_INVALID` for bytes of another length. */
export function setPit(vm: Vm, state: Uint8Array): void {
  checkStateBytes("pit", state, kvm_pit_state2.size);
  ioctl(vm.fd, KVM_SET_PIT2, state, "KVM_SET_PIT2");
}
