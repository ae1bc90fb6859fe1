import { bootId, ioctl } from "@baton/linux";
import { KVM_CLOCK_HOST_TSC, KVM_CLOCK_REALTIME, KVM_GET_CLOCK, KVM_SET_CLOCK, kvm_clock_data } from "../abi/kvm.js";
import { Struct } from "../struct.js";
import type { Vm } from "../vm.js";

/** The VM's paravirtual clock (kvmclock): nanoseconds since the VM was made, and the host's clocks at the same instant. */
export interface ClockState {
  readonly clockNs: bigint;
  readonly flags: number;
  /** CLOCK_REALTIME in nanoseconds, where the host gives it. */
  readonly realtimeNs: bigint | null;
  readonly hostTsc: bigint | null;
  /** The host's boot: offsets to its TSC are of no use in another. */
  readonly bootId: string;
}

/** Reads the clock; flags are KVM's (KVM API 4.29). */
export function getClock(vm: Vm): ClockState {
  const data = new Struct(kvm_clock_data.size);
  ioctl(vm.fd, KVM_GET_CLOCK, data.bytes, "KVM_GET_CLOCK");
  const flags = data.u32(kvm_clock_data.flags);
  return {
    clockNs: data.u64(kvm_clock_data.clock),
    flags,
    realtimeNs: flags & KVM_CLOCK_REALTIME ? data.u64(kvm_clock_data.realtime) : null,
    hostTsc: flags & KVM_CLOCK_HOST_TSC ? data.u64(kvm_clock_data.host_tsc) : null,
    bootId: bootId(),
  };
}

/**
 * Sets the clock (KVM API 4.30). With `advance`, the time that has passed since the state was read is added by the
 * kernel, where the state carries the real time at which it was read; else the clock goes on from `clockNs`.
 */
export function setClock(vm: Vm, state: ClockState, options: { readonly advance: boolean }): void {
  const data = new Struct(kvm_clock_data.size).setU64(kvm_clock_data.clock, state.clockNs);
  if (options.advance && state.realtimeNs !== null) {
    data.setU32(kvm_clock_data.flags, KVM_CLOCK_REALTIME).setU64(kvm_clock_data.realtime, state.realtimeNs);
  }
  ioctl(vm.fd, KVM_SET_CLOCK, data.bytes, "KVM_SET_CLOCK");
}
