import { BatonError, tryIoctlPtr } from "@baton/linux";
import { KVM_GET_MSRS, KVM_SET_MSRS, kvm_msr_entry, kvm_msrs } from "../abi/kvm.js";
import { Struct } from "../struct.js";
import type { Vcpu } from "../vcpu.js";

/** A model-specific register and its value. */
export interface MsrEntry {
  readonly index: number;
  readonly data: bigint;
}

/** The time stamp counter. */
export const MSR_TSC = 0x10;
/**
 * Where the guest wants to have the time of its boot: setting one has KVM write it there. The second is the newer of the two.
 * Linux: Documentation/virt/kvm/x86/msr.rst.
 */
export const MSR_KVM_WALL_CLOCKS: readonly number[] = [0x11, 0x4b56_4d00];
/** The next deadline of the LAPIC's timer, in TSC ticks. */
export const MSR_TSC_DEADLINE = 0x6e0;

/** Reads MSRs (KVM API 4.18); those that the host refuses for this vCPU are left out. */
export function getMsrs(vcpu: Vcpu, indices: readonly number[]): readonly MsrEntry[] {
  const result: MsrEntry[] = [];
  let rest = indices;
  while (rest.length > 0) {
    const list = encode(rest.map((index) => ({ index, data: 0n })));
    const count = tryIoctlPtr(vcpu.fd.raw, KVM_GET_MSRS, list.bytes);
    if (count < 0) throw new BatonError("KVM_MSR", `KVM_GET_MSRS on vCPU ${vcpu.id} failed`, { errno: -count });
    for (let i = 0; i < count; i++) {
      const at = kvm_msrs.entries + i * kvm_msr_entry.size;
      result.push({ index: list.u32(at + kvm_msr_entry.index), data: list.u64(at + kvm_msr_entry.data) });
    }
    rest = rest.slice(count + 1);
  }
  return result;
}

/** Sets MSRs in the order given (KVM API 4.19). Fails with `KVM_MSR_REFUSED`, naming the first that the host refuses. */
export function setMsrs(vcpu: Vcpu, entries: readonly MsrEntry[]): void {
  if (entries.length === 0) return;
  const done = tryIoctlPtr(vcpu.fd.raw, KVM_SET_MSRS, encode(entries).bytes);
  if (done === entries.length) return;
  const refused = entries[Math.max(done, 0)];
  throw new BatonError(
    "KVM_MSR_REFUSED",
    `This host refuses 0x${refused?.data.toString(16)} for MSR 0x${refused?.index.toString(16)} of vCPU ${vcpu.id}`,
    { details: { index: refused?.index } },
  );
}

function encode(entries: readonly MsrEntry[]): Struct {
  const list = new Struct(kvm_msrs.entries + entries.length * kvm_msr_entry.size);
  list.setU32(kvm_msrs.nmsrs, entries.length);
  entries.forEach(({ index, data }, i) => {
    const at = kvm_msrs.entries + i * kvm_msr_entry.size;
    list.setU32(at + kvm_msr_entry.index, index).setU64(at + kvm_msr_entry.data, data);
  });
  return list;
}
