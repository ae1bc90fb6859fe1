import {
  kvm_debugregs,
  kvm_dtable,
  kvm_regs,
  kvm_segment,
  kvm_sregs,
  kvm_sregs2,
  kvm_vcpu_events,
} from "../abi/kvm.js";
import { type FieldTable, type FieldValues, readFields, Struct, writeFields } from "../struct.js";

const { size: _regsSize, ...regOffsets } = kvm_regs;
type RegisterName = keyof typeof regOffsets;

/** The sixteen general registers, `rip` and `rflags` (KVM API 4.11). */
export type Registers = { -readonly [K in RegisterName]: bigint };

/** Reads a `kvm_regs`. */
export function decodeRegisters(struct: Struct): Registers {
  const values = {} as Registers;
  for (const [name, offset] of Object.entries(regOffsets)) values[name as RegisterName] = struct.u64(offset);
  return values;
}

/** Writes a `kvm_regs`. */
export function encodeRegisters(values: Registers): Struct {
  const struct = new Struct(kvm_regs.size);
  for (const [name, offset] of Object.entries(regOffsets)) struct.setU64(offset, values[name as RegisterName]);
  return struct;
}

const segmentTable = {
  base: [kvm_segment.base, "u64"],
  limit: [kvm_segment.limit, "u32"],
  selector: [kvm_segment.selector, "u16"],
  type: [kvm_segment.type, "u8"],
  present: [kvm_segment.present, "u8"],
  dpl: [kvm_segment.dpl, "u8"],
  db: [kvm_segment.db, "u8"],
  s: [kvm_segment.s, "u8"],
  l: [kvm_segment.l, "u8"],
  g: [kvm_segment.g, "u8"],
  avl: [kvm_segment.avl, "u8"],
  unusable: [kvm_segment.unusable, "u8"],
} as const satisfies FieldTable;

/** A segment register with its hidden part; `limit` in bytes. */
export type Segment = FieldValues<typeof segmentTable>;

/** A descriptor table register. */
export interface DescriptorTable {
  base: bigint;
  limit: number;
}

const segmentNames = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;
const tableNames = ["gdt", "idt"] as const;
const controlNames = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"] as const;

/** Segments, descriptor tables and control registers (KVM API 4.13 and 4.133). */
export type SpecialRegisters = Record<(typeof segmentNames)[number], Segment> &
  Record<(typeof tableNames)[number], DescriptorTable> &
  Record<(typeof controlNames)[number], bigint> & {
    apicBase: bigint;
    /** The PAE page-directory pointers, where the host reports them (`KVM_GET_SREGS2`). */
    pdptrs: bigint[] | null;
  };

const PDPTRS_VALID = 1n;

/** Reads a `kvm_sregs2`, or a `kvm_sregs` where the host has no better. */
export function decodeSpecialRegisters(struct: Struct, version2: boolean): SpecialRegisters {
  const layout = version2 ? kvm_sregs2 : kvm_sregs;
  const valid = version2 && (struct.u64(kvm_sregs2.flags) & PDPTRS_VALID) !== 0n;
  const values: Record<string, unknown> = {
    apicBase: struct.u64(layout.apic_base),
    pdptrs: valid ? [0, 1, 2, 3].map((i) => struct.u64(kvm_sregs2.pdptrs + i * 8)) : null,
  };
  for (const name of segmentNames) values[name] = readFields(struct.at(layout[name], kvm_segment.size), segmentTable);
  for (const name of tableNames) {
    values[name] = {
      base: struct.u64(layout[name] + kvm_dtable.base),
      limit: struct.u16(layout[name] + kvm_dtable.limit),
    };
  }
  for (const name of controlNames) values[name] = struct.u64(layout[name]);
  return values as unknown as SpecialRegisters;
}

/** Writes a `kvm_sregs2` or a `kvm_sregs`. */
export function encodeSpecialRegisters(values: SpecialRegisters, version2: boolean): Struct {
  const layout = version2 ? kvm_sregs2 : kvm_sregs;
  const struct = new Struct(layout.size).setU64(layout.apic_base, values.apicBase);
  for (const name of segmentNames) writeFields(struct.at(layout[name], kvm_segment.size), segmentTable, values[name]);
  for (const name of tableNames) {
    struct.setU64(layout[name] + kvm_dtable.base, values[name].base);
    struct.setU16(layout[name] + kvm_dtable.limit, values[name].limit);
  }
  for (const name of controlNames) struct.setU64(layout[name], values[name]);
  if (version2 && values.pdptrs !== null) {
    struct.setU64(kvm_sregs2.flags, PDPTRS_VALID);
    values.pdptrs.forEach((value, i) => {
      struct.setU64(kvm_sregs2.pdptrs + i * 8, value);
    });
  }
  return struct;
}

const eventTable = {
  exceptionInjected: [kvm_vcpu_events.exception_injected, "u8"],
  exceptionNr: [kvm_vcpu_events.exception_nr, "u8"],
  exceptionHasErrorCode: [kvm_vcpu_events.exception_has_error_code, "u8"],
  exceptionPending: [kvm_vcpu_events.exception_pending, "u8"],
  exceptionErrorCode: [kvm_vcpu_events.exception_error_code, "u32"],
  interruptInjected: [kvm_vcpu_events.interrupt_injected, "u8"],
  interruptNr: [kvm_vcpu_events.interrupt_nr, "u8"],
  interruptSoft: [kvm_vcpu_events.interrupt_soft, "u8"],
  interruptShadow: [kvm_vcpu_events.interrupt_shadow, "u8"],
  nmiInjected: [kvm_vcpu_events.nmi_injected, "u8"],
  nmiPending: [kvm_vcpu_events.nmi_pending, "u8"],
  nmiMasked: [kvm_vcpu_events.nmi_masked, "u8"],
  sipiVector: [kvm_vcpu_events.sipi_vector, "u32"],
  flags: [kvm_vcpu_events.flags, "u32"],
  smiSmm: [kvm_vcpu_events.smi_smm, "u8"],
  smiPending: [kvm_vcpu_events.smi_pending, "u8"],
  smiInsideNmi: [kvm_vcpu_events.smi_smm_inside_nmi, "u8"],
  smiLatchedInit: [kvm_vcpu_events.smi_latched_init, "u8"],
  tripleFaultPending: [kvm_vcpu_events.triple_fault_pending, "u8"],
  exceptionHasPayload: [kvm_vcpu_events.exception_has_payload, "u8"],
  exceptionPayload: [kvm_vcpu_events.exception_payload, "u64"],
} as const satisfies FieldTable;

/** Exceptions, interrupts, NMIs and SMIs that are on their way to the guest (KVM API 4.31). */
export type VcpuEvents = FieldValues<typeof eventTable>;

/** Reads a `kvm_vcpu_events`. */
export function decodeEvents(struct: Struct): VcpuEvents {
  return readFields(struct, eventTable);
}

/** Writes a `kvm_vcpu_events`. */
export function encodeEvents(values: VcpuEvents): Struct {
  return writeFields(new Struct(kvm_vcpu_events.size), eventTable, values);
}

const debugTable = {
  db0: [kvm_debugregs.db, "u64"],
  db1: [kvm_debugregs.db + 8, "u64"],
  db2: [kvm_debugregs.db + 16, "u64"],
  db3: [kvm_debugregs.db + 24, "u64"],
  dr6: [kvm_debugregs.dr6, "u64"],
  dr7: [kvm_debugregs.dr7, "u64"],
} as const satisfies FieldTable;

/** The debug registers (KVM API 4.33). */
export type DebugRegisters = FieldValues<typeof debugTable>;

/** Reads a `kvm_debugregs`. */
export function decodeDebugRegisters(struct: Struct): DebugRegisters {
  return readFields(struct, debugTable);
}

/** Writes a `kvm_debugregs`. */
export function encodeDebugRegisters(values: DebugRegisters): Struct {
  return writeFields(new Struct(kvm_debugregs.size), debugTable, values);
}
