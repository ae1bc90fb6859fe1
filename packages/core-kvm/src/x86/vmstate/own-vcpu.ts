import {
  array,
  bool,
  existsIf,
  i64,
  list,
  type StateOf,
  struct,
  u8,
  u32,
  u64,
  type Vmstate,
  vmstate,
} from "@baton/migration/vmstate";
import { bytePatches } from "../../byte-patch.js";
import type { CpuidEntry } from "../cpuid.js";
import type { VcpuEvents } from "../registers.js";

const cpuidEntry = vmstate({
  name: "baton/cpuid",
  version: 1,
  fields: { function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32 },
}) satisfies Vmstate<{ -readonly [K in keyof CpuidEntry]: CpuidEntry[K] }>;

const events = vmstate({
  name: "baton/vcpu-events",
  version: 1,
  fields: {
    exceptionInjected: u8,
    exceptionNr: u8,
    exceptionHasErrorCode: u8,
    exceptionPending: u8,
    exceptionErrorCode: u32,
    interruptInjected: u8,
    interruptNr: u8,
    interruptSoft: u8,
    interruptShadow: u8,
    nmiInjected: u8,
    nmiPending: u8,
    nmiMasked: u8,
    sipiVector: u32,
    flags: u32,
    smiSmm: u8,
    smiPending: u8,
    smiInsideNmi: u8,
    smiLatchedInit: u8,
    tripleFaultPending: u8,
    exceptionHasPayload: u8,
    exceptionPayload: u64,
  },
}) satisfies Vmstate<VcpuEvents>;

/** An MSR in the order in which it is set; `inCpu` where its value stands in the section `cpu`. */
const msr = vmstate({
  name: "baton/msr",
  version: 1,
  fields: {
    index: u32,
    inCpu: bool,
    data: existsIf(["inCpu"], ({ inCpu }: { inCpu: boolean }) => !inCpu, u64, 0n),
  },
});

const xcr = vmstate({ name: "baton/xcr", version: 1, fields: { xcr: u32, value: u64 } });

/** 4,096 bytes of the oldest format, 11 KiB with AMX: as much again is left for what comes. */
const MAX_XSAVE = 0x1_0000;
const MIN_XSAVE = 0x1000;

/**
 * Baton's section `baton/vcpu`: one of each vCPU, by its number. It has what QEMU's `cpu` and `apic` have no room for:
 * CPUID, the list of MSRs, the rest of the XSAVE area and of the LAPIC's page as patches, the TSC's offset. The events
 * are whole, since QEMU's members are too few for the exact state.
 */
export const ownVcpuVmstate = vmstate({
  name: "baton/vcpu",
  version: 1,
  fields: {
    apicId: u32,
    /** Base and flags of the LAPIC. */
    apicBase: u64,
    cr8: u64,
    /** A bit for each of es, cs, ss, ds, fs, gs, ldt, tr that is unusable. */
    unusable: u8,
    hasPdptrs: bool,
    pdptrs: existsIf(["hasPdptrs"], ({ hasPdptrs }: { hasPdptrs: boolean }) => hasPdptrs, array(4, u64), [
      0n,
      0n,
      0n,
      0n,
    ]),
    events: struct(events),
    hasTscOffset: bool,
    tscOffset: existsIf(["hasTscOffset"], ({ hasTscOffset }: { hasTscOffset: boolean }) => hasTscOffset, i64, 0n),
    cpuid: list(struct(cpuidEntry)),
    msrs: list(struct(msr)),
    hasXcr0: bool,
    /** Those beside XCR0, which stands in `cpu`. */
    xcrs: list(struct(xcr)),
    xsaveBytes: u32,
    xsave: bytePatches,
    hasLapic: bool,
    lapic: bytePatches,
  },
  postLoad(state) {
    const { xsaveBytes } = state;
    if (xsaveBytes < MIN_XSAVE || xsaveBytes > MAX_XSAVE) {
      throw new Error(`an XSAVE area of ${xsaveBytes} bytes, not ${MIN_XSAVE} to ${MAX_XSAVE}`);
    }
    return state;
  },
});

/** What Baton has of a vCPU beyond QEMU's layout. */
export type OwnVcpuSection = StateOf<typeof ownVcpuVmstate>;
