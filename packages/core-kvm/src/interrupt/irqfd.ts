import { type FdLike, ioctl, rawFd } from "@baton/linux";
import { KVM_IRQFD, KVM_IRQFD_FLAG_DEASSIGN, KVM_IRQFD_FLAG_RESAMPLE, kvm_irqfd } from "../abi/kvm.js";
import { Struct } from "../struct.js";
import type { Vm } from "../vm.js";

/** An eventfd whose signal raises an interrupt, without a system call into KVM by the device (KVM API 4.75). */
export interface Irqfd {
  readonly gsi: number;
  readonly eventfd: FdLike;
  /** For level-triggered lines: signalled at the guest's EOI, when the line has been lowered. */
  readonly resampleEventfd?: FdLike;
}

/** Connects an eventfd to an interrupt. */
export function assignIrqfd(vm: Vm, irqfd: Irqfd): void {
  request(vm, irqfd, irqfd.resampleEventfd === undefined ? 0 : KVM_IRQFD_FLAG_RESAMPLE);
}

/** Disconnects it; returns after interrupts under way have reached the guest's controllers. */
export function deassignIrqfd(vm: Vm, irqfd: Irqfd): void {
  request(vm, irqfd, KVM_IRQFD_FLAG_DEASSIGN);
}

function request(vm: Vm, irqfd: Irqfd, flags: number): void {
  const arg = new Struct(kvm_irqfd.size)
    .setU32(kvm_irqfd.fd, rawFd(irqfd.eventfd))
    .setU32(kvm_irqfd.gsi, irqfd.gsi)
    .setU32(kvm_irqfd.flags, flags);
  if (irqfd.resampleEventfd !== undefined) arg.setU32(kvm_irqfd.resamplefd, rawFd(irqfd.resampleEventfd));
  ioctl(vm.fd, KVM_IRQFD, arg.bytes, `KVM_IRQFD gsi ${irqfd.gsi}`);
}
