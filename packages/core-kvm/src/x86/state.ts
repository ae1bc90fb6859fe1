import { BatonError, ioctl, tryIoctl, tryIoctlPtr } from "@baton/linux";
import * as abi from "../abi/kvm.js";
import { checkStateBytes } from "../state-bytes.js";
import { Struct } from "../struct.js";
import type { Vcpu } from "../vcpu.js";
import { type CpuidEntry, decodeCpuid, encodeCpuid } from "./cpuid.js";
import { getMsrs, MSR_TSC, MSR_TSC_DEADLINE, type MsrEntry, setMsrs } from "./msr.js";
import {
  type DebugRegisters,
  decodeDebugRegisters,
  decodeEvents,
  decodeRegisters,
  decodeSpecialRegisters,
  encodeDebugRegisters,
  encodeEvents,
  encodeRegisters,
  encodeSpecialRegisters,
  type Registers,
  type SpecialRegisters,
  type VcpuEvents,
} from "./registers.js";

/** The complete state of a vCPU as plain data. `null` stands for what this host's KVM does not have or refuses. */
export interface VcpuState {
  readonly apicId: number;
  /** `KVM_MP_STATE_*`: running, halted, or waiting to be started. */
  readonly mpState: number;
  readonly cpuid: readonly CpuidEntry[];
  readonly registers: Registers;
  readonly specialRegisters: SpecialRegisters;
  /** FPU, SSE and AVX registers in XSAVE layout, 4,096 bytes or more. */
  readonly xsave: Uint8Array;
  /** The extended control registers. */
  readonly xcrs: readonly { readonly xcr: number; readonly value: bigint }[];
  readonly debugRegisters: DebugRegisters;
  /** The LAPIC's 1,024 bytes of registers; null without an in-kernel LAPIC. */
  readonly lapic: Uint8Array | null;
  readonly msrs: readonly MsrEntry[];
  readonly tscKhz: number | null;
  /** What KVM adds to the host's TSC for this vCPU. */
  readonly tscOffset: bigint | null;
  readonly events: VcpuEvents;
}

/**
 * Reads a stopped vCPU. Its last exit must have been completed (one `KVM_RUN` with `immediate_exit`), else registers
 * and memory do not agree. MP state is read first, since reading it changes other state, and the events last.
 */
export function getVcpuState(vcpu: Vcpu): VcpuState {
  const mpState = getMpState(vcpu);
  const cpuid = getCpuid(vcpu);
  const registers = getRegisters(vcpu);
  const specialRegisters = getSpecialRegisters(vcpu);
  const xsave = getXsave(vcpu);
  const xcrs = getXcrs(vcpu);
  const debug = new Struct(abi.kvm_debugregs.size);
  ioctl(vcpu.fd, abi.KVM_GET_DEBUGREGS, debug.bytes, "KVM_GET_DEBUGREGS");
  const lapic = new Uint8Array(abi.kvm_lapic_state.size);
  const hasLapic = tryIoctlPtr(vcpu.fd.raw, abi.KVM_GET_LAPIC, lapic) === 0;
  const msrs = getMsrs(vcpu, vcpu.vm.kvm.msrIndices());
  const tscKhz = tryIoctl(vcpu.fd.raw, abi.KVM_GET_TSC_KHZ, 0);
  return {
    apicId: vcpu.id,
    mpState,
    cpuid,
    registers,
    specialRegisters,
    xsave,
    xcrs,
    debugRegisters: decodeDebugRegisters(debug),
    lapic: hasLapic ? lapic : null,
    msrs,
    tscKhz: tscKhz > 0 ? tscKhz : null,
    tscOffset: getTscOffset(vcpu),
    events: getEvents(vcpu),
  };
}

/** How the guest's time stamp counter goes on in a fresh vCPU. */
export interface SetVcpuStateOptions {
  /** `offset` (default): the TSC keeps its distance to this host's; `value`: it goes on from the value that was read. */
  readonly tsc?: "offset" | "value";
  /** For a vCPU that has run: its CPUID stays, since KVM allows no other. */
  readonly keepCpuid?: boolean;
}

/**
 * Sets a vCPU that has not run yet. Fails with `CPU_TSC_FREQUENCY`, `KVM_MSR_REFUSED` or `STATE_INVALID`, or with the failed request,
 * where this host cannot provide what the state asks for.
 */
export function setVcpuState(vcpu: Vcpu, state: VcpuState, options: SetVcpuStateOptions = {}): void {
  if (!options.keepCpuid) setCpuid(vcpu, state.cpuid);
  setTscKhz(vcpu, state.tscKhz);
  setSpecialRegisters(vcpu, state.specialRegisters);
  setXsave(vcpu, state.xsave);
  setXcrs(vcpu, state.xcrs);
  ioctl(vcpu.fd, abi.KVM_SET_DEBUGREGS, encodeDebugRegisters(state.debugRegisters).bytes, "KVM_SET_DEBUGREGS");
  if (state.lapic !== null) {
    checkStateBytes(`the LAPIC of vCPU ${vcpu.id}`, state.lapic, abi.kvm_lapic_state.size);
    ioctl(vcpu.fd, abi.KVM_SET_LAPIC, state.lapic, "KVM_SET_LAPIC");
  }
  const keepOffset = options.tsc !== "value" && state.tscOffset !== null && setTscOffset(vcpu, state.tscOffset);
  const ordered = state.msrs.filter((m) => m.index !== MSR_TSC_DEADLINE && m.index !== MSR_TSC);
  if (!keepOffset) ordered.unshift(...state.msrs.filter((m) => m.index === MSR_TSC));
  ordered.push(...state.msrs.filter((m) => m.index === MSR_TSC_DEADLINE));
  setMsrs(vcpu, ordered);
  setRegisters(vcpu, state.registers);
  setMpState(vcpu, state.mpState);
  setEvents(vcpu, state.events);
}

/** Reads whether the vCPU runs, halts or waits to be started (KVM API 4.38). */
export function getMpState(vcpu: Vcpu): number {
  const struct = new Struct(abi.kvm_mp_state.size);
  ioctl(vcpu.fd, abi.KVM_GET_MP_STATE, struct.bytes, "KVM_GET_MP_STATE");
  return struct.u32(0);
}

/** Sets it (KVM API 4.39). */
export function setMpState(vcpu: Vcpu, value: number): void {
  ioctl(vcpu.fd, abi.KVM_SET_MP_STATE, new Struct(abi.kvm_mp_state.size).setU32(0, value).bytes, "KVM_SET_MP_STATE");
}

/** Reads the general registers (KVM API 4.11). */
export function getRegisters(vcpu: Vcpu): Registers {
  const struct = new Struct(abi.kvm_regs.size);
  ioctl(vcpu.fd, abi.KVM_GET_REGS, struct.bytes, "KVM_GET_REGS");
  return decodeRegisters(struct);
}

/** Sets them (KVM API 4.12). */
export function setRegisters(vcpu: Vcpu, registers: Registers): void {
  ioctl(vcpu.fd, abi.KVM_SET_REGS, encodeRegisters(registers).bytes, "KVM_SET_REGS");
}

/** Reads segments and control registers, with PDPTRs where the host has `KVM_GET_SREGS2` (KVM API 4.133). */
export function getSpecialRegisters(vcpu: Vcpu): SpecialRegisters {
  const version2 = vcpu.vm.kvm.capability("SREGS2") > 0;
  const struct = new Struct(version2 ? abi.kvm_sregs2.size : abi.kvm_sregs.size);
  ioctl(vcpu.fd, version2 ? abi.KVM_GET_SREGS2 : abi.KVM_GET_SREGS, struct.bytes, "KVM_GET_SREGS2");
  return decodeSpecialRegisters(struct, version2);
}

/** Sets them (KVM API 4.134). */
export function setSpecialRegisters(vcpu: Vcpu, values: SpecialRegisters): void {
  const version2 = vcpu.vm.kvm.capability("SREGS2") > 0;
  const struct = encodeSpecialRegisters(values, version2);
  ioctl(vcpu.fd, version2 ? abi.KVM_SET_SREGS2 : abi.KVM_SET_SREGS, struct.bytes, "KVM_SET_SREGS2");
}

/** What the guest sees of its CPU (KVM API 4.20). */
export function setCpuid(vcpu: Vcpu, entries: readonly CpuidEntry[]): void {
  ioctl(vcpu.fd, abi.KVM_SET_CPUID2, encodeCpuid(entries).bytes, "KVM_SET_CPUID2");
}

/** Reads it back (KVM API 4.68). */
export function getCpuid(vcpu: Vcpu): readonly CpuidEntry[] {
  const list = new Struct(abi.kvm_cpuid2.size + 256 * abi.kvm_cpuid_entry2.size);
  list.setU32(abi.kvm_cpuid2.nent, 256);
  ioctl(vcpu.fd, abi.KVM_GET_CPUID2, list.bytes, "KVM_GET_CPUID2");
  return decodeCpuid(list);
}

/** The guest's TSC in ticks, with the vCPU stopped. */
export function getTsc(vcpu: Vcpu): bigint {
  return getMsrs(vcpu, [MSR_TSC])[0]?.data ?? 0n;
}

/** Events under way to the guest (KVM API 4.31). */
export function getEvents(vcpu: Vcpu): VcpuEvents {
  const struct = new Struct(abi.kvm_vcpu_events.size);
  ioctl(vcpu.fd, abi.KVM_GET_VCPU_EVENTS, struct.bytes, "KVM_GET_VCPU_EVENTS");
  return decodeEvents(struct);
}

/** Flags that say which optional parts of `kvm_vcpu_events` the kernel shall take; it sets the others only when read. */
const SETTABLE_EVENT_FLAGS =
  abi.KVM_VCPUEVENT_VALID_NMI_PENDING |
  abi.KVM_VCPUEVENT_VALID_SIPI_VECTOR |
  abi.KVM_VCPUEVENT_VALID_SHADOW |
  abi.KVM_VCPUEVENT_VALID_SMM |
  abi.KVM_VCPUEVENT_VALID_PAYLOAD |
  abi.KVM_VCPUEVENT_VALID_TRIPLE_FAULT;

function setEvents(vcpu: Vcpu, events: VcpuEvents): void {
  const wanted = (events.flags | abi.KVM_VCPUEVENT_VALID_NMI_PENDING) & SETTABLE_EVENT_FLAGS;
  const sipi = events.sipiVector === 0 ? 0 : abi.KVM_VCPUEVENT_VALID_SIPI_VECTOR;
  const struct = encodeEvents({ ...events, flags: wanted | sipi });
  ioctl(vcpu.fd, abi.KVM_SET_VCPU_EVENTS, struct.bytes, "KVM_SET_VCPU_EVENTS");
}

function getXsave(vcpu: Vcpu): Uint8Array {
  const size = vcpu.vm.capability("XSAVE2");
  const area = new Uint8Array(Math.max(size, abi.kvm_xsave.size));
  if (size > 0) ioctl(vcpu.fd, abi.KVM_GET_XSAVE2, area, "KVM_GET_XSAVE2");
  else ioctl(vcpu.fd, abi.KVM_GET_XSAVE, area, "KVM_GET_XSAVE");
  return area;
}

function setXsave(vcpu: Vcpu, xsave: Uint8Array): void {
  const size = Math.max(vcpu.vm.capability("XSAVE2"), abi.kvm_xsave.size);
  if (xsave.length > size) {
    throw new BatonError(
      "CPU_XSAVE_SIZE",
      `The state of vCPU ${vcpu.id} has ${xsave.length} bytes of extended registers, this host has ${size}`,
    );
  }
  const area = new Uint8Array(size);
  area.set(xsave);
  ioctl(vcpu.fd, abi.KVM_SET_XSAVE, area, "KVM_SET_XSAVE");
}

function getXcrs(vcpu: Vcpu): VcpuState["xcrs"] {
  const struct = new Struct(abi.kvm_xcrs.size);
  ioctl(vcpu.fd, abi.KVM_GET_XCRS, struct.bytes, "KVM_GET_XCRS");
  return Array.from({ length: struct.u32(abi.kvm_xcrs.nr_xcrs) }, (_, i) => {
    const at = abi.kvm_xcrs.xcrs + i * abi.kvm_xcr.size;
    return { xcr: struct.u32(at + abi.kvm_xcr.xcr), value: struct.u64(at + abi.kvm_xcr.value) };
  });
}

/** As many as `kvm_xcrs` has places for. */
const MAX_XCRS = 16;

/** Sets the extended control registers (KVM API 4.37). Throws `STATE_INVALID` for more than 16. */
export function setXcrs(vcpu: Vcpu, xcrs: VcpuState["xcrs"]): void {
  if (xcrs.length === 0) return;
  if (xcrs.length > MAX_XCRS)
    throw new BatonError("STATE_INVALID", `vCPU ${vcpu.id}: ${xcrs.length} XCRs of ${MAX_XCRS}`);
  const struct = new Struct(abi.kvm_xcrs.size).setU32(abi.kvm_xcrs.nr_xcrs, xcrs.length);
  xcrs.forEach(({ xcr, value }, i) => {
    const at = abi.kvm_xcrs.xcrs + i * abi.kvm_xcr.size;
    struct.setU32(at + abi.kvm_xcr.xcr, xcr).setU64(at + abi.kvm_xcr.value, value);
  });
  ioctl(vcpu.fd, abi.KVM_SET_XCRS, struct.bytes, "KVM_SET_XCRS");
}

const offsetAttribute = (value: Struct, address: bigint) =>
  value
    .setU32(abi.kvm_device_attr.group, abi.KVM_VCPU_TSC_CTRL)
    .setU64(abi.kvm_device_attr.attr, BigInt(abi.KVM_VCPU_TSC_OFFSET))
    .setU64(abi.kvm_device_attr.addr, address);

function getTscOffset(vcpu: Vcpu): bigint | null {
  const value = new Struct(8);
  const attr = offsetAttribute(new Struct(abi.kvm_device_attr.size), vcpu.addressOf(value.bytes));
  return tryIoctlPtr(vcpu.fd.raw, abi.KVM_GET_DEVICE_ATTR, attr.bytes) === 0 ? value.i64(0) : null;
}

function setTscOffset(vcpu: Vcpu, offset: bigint): boolean {
  const value = new Struct(8).setI64(0, offset);
  const attr = offsetAttribute(new Struct(abi.kvm_device_attr.size), vcpu.addressOf(value.bytes));
  return tryIoctlPtr(vcpu.fd.raw, abi.KVM_SET_DEVICE_ATTR, attr.bytes) === 0;
}

/** A guest TSC may differ from the host's by this much without scaling: 250 parts in a million, as KVM itself allows. */
const TSC_TOLERANCE = 250e-6;

function setTscKhz(vcpu: Vcpu, wanted: number | null): void {
  const own = tryIoctl(vcpu.fd.raw, abi.KVM_GET_TSC_KHZ, 0);
  if (wanted === null || own <= 0 || Math.abs(own - wanted) <= wanted * TSC_TOLERANCE) return;
  if (vcpu.vm.kvm.capability("TSC_CONTROL") > 0 && tryIoctl(vcpu.fd.raw, abi.KVM_SET_TSC_KHZ, wanted) === 0) return;
  throw new BatonError(
    "CPU_TSC_FREQUENCY",
    `vCPU ${vcpu.id} needs a time stamp counter of ${wanted} kHz; this host has ${own} kHz and cannot scale it`,
  );
}
