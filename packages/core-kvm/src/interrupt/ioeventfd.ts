import { type FdLike, ioctl, rawFd } from "@baton/linux";
import {
  KVM_IOEVENTFD,
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IOEVENTFD_FLAG_PIO,
  KVM_REGISTER_COALESCED_MMIO,
  KVM_UNREGISTER_COALESCED_MMIO,
  kvm_coalesced_mmio_zone,
  kvm_ioeventfd,
} from "../abi/kvm.js";
import { Struct } from "../struct.js";
import type { Vm } from "../vm.js";

/** A guest write that signals an eventfd instead of an exit (KVM API 4.59). */
export interface Ioeventfd {
  readonly eventfd: FdLike;
  readonly space: "pio" | "mmio";
  readonly address: bigint;
  /** Width of the write in bytes: 1, 2, 4 or 8; 0 takes every width. */
  readonly length: 0 | 1 | 2 | 4 | 8;
  /** Only writes of this value count. */
  readonly datamatch?: bigint;
}

/** Connects a guest address to an eventfd. */
export function assignIoeventfd(vm: Vm, doorbell: Ioeventfd): void {
  request(vm, doorbell, 0);
}

/** Disconnects it; all members must be those of the assignment. */
export function deassignIoeventfd(vm: Vm, doorbell: Ioeventfd): void {
  request(vm, doorbell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

function request(vm: Vm, doorbell: Ioeventfd, flags: number): void {
  const pio = doorbell.space === "pio" ? KVM_IOEVENTFD_FLAG_PIO : 0;
  const match = doorbell.datamatch === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH;
  const arg = new Struct(kvm_ioeventfd.size)
    .setU64(kvm_ioeventfd.datamatch, doorbell.datamatch ?? 0n)
    .setU64(kvm_ioeventfd.addr, doorbell.address)
    .setU32(kvm_ioeventfd.len, doorbell.length)
    .setU32(kvm_ioeventfd.fd, rawFd(doorbell.eventfd))
    .setU32(kvm_ioeventfd.flags, flags | pio | match);
  ioctl(vm.fd, KVM_IOEVENTFD, arg.bytes, `KVM_IOEVENTFD ${doorbell.space} 0x${doorbell.address.toString(16)}`);
}

/** A range whose writes KVM may gather in the ring of the run mapping instead of exiting for each (KVM API 4.116). */
export interface CoalescedZone {
  readonly space: "pio" | "mmio";
  readonly address: bigint;
  readonly length: number;
}

/** Starts (`on`) or ends the gathering of writes to a range. */
export function setCoalesced(vm: Vm, zone: CoalescedZone, on: boolean): void {
  const arg = new Struct(kvm_coalesced_mmio_zone.size)
    .setU64(kvm_coalesced_mmio_zone.addr, zone.address)
    .setU32(kvm_coalesced_mmio_zone.length, zone.length)
    .setU32(kvm_coalesced_mmio_zone.pio, zone.space === "pio" ? 1 : 0);
  const name = on ? "KVM_REGISTER_COALESCED_MMIO" : "KVM_UNREGISTER_COALESCED_MMIO";
  ioctl(vm.fd, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, arg.bytes, name);
}
