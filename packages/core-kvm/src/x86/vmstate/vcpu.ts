import { BatonError } from "@baton/linux";
import { KVM_MP_STATE_HALTED } from "../../abi/kvm.js";
import { applyPatches, patchesBetween } from "../../byte-patch.js";
import { Struct } from "../../struct.js";
import type { MsrEntry } from "../msr.js";
import type { Registers, SpecialRegisters } from "../registers.js";
import type { VcpuState } from "../state.js";
import { type ApicSection, joinApic, saveApic } from "./apic.js";
import type { CpuCommonSection, CpuSection } from "./cpu.js";
import { joinExtendedState, saveExtendedState } from "./extended-state.js";
import { msrPlace } from "./msr-places.js";
import type { OwnVcpuSection } from "./own-vcpu.js";
import { joinSegment, joinTable, saveSegment, saveTable } from "./segment.js";

/** The sections of one vCPU. */
export interface VcpuSections {
  readonly common: CpuCommonSection;
  readonly cpu: CpuSection;
  readonly apic: ApicSection;
  readonly own: OwnVcpuSection;
}

/** QEMU's order of the general registers. */
const registerNames = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;
const segmentNames = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
const allSegments = [...segmentNames, "ldt", "tr"] as const;
const ALL_BITS = -1;
const EMPTY_LAPIC = new Uint8Array(1024);

/** A vCPU's state as sections. Throws `STATE_INVALID` for what the sections cannot carry. */
export function saveVcpu(state: VcpuState): VcpuSections {
  const { lapic, xsave, tscOffset, specialRegisters, events } = state;
  const cpu = saveCpu(state);
  const msrs = state.msrs.map(({ index, data }) => {
    const place = msrPlace(index);
    const inCpu = place !== undefined && data >> BigInt(place.bits) === 0n;
    if (inCpu) place.write(cpu, data);
    return { index, inCpu, data: inCpu ? 0n : data };
  });
  const apic = saveApic(lapic ?? EMPTY_LAPIC, specialRegisters.apicBase);
  const [first, ...others] = state.xcrs;
  const hasXcr0 = first?.xcr === 0;
  if (hasXcr0) cpu.xcr0 = first.value;
  return {
    common: { halted: state.mpState === KVM_MP_STATE_HALTED ? 1 : 0, interruptRequest: 0 },
    cpu,
    apic,
    own: {
      apicId: state.apicId,
      apicBase: specialRegisters.apicBase,
      cr8: specialRegisters.cr8,
      unusable: allSegments.reduce((mask, name, bit) => mask | (specialRegisters[name].unusable << bit), 0),
      hasPdptrs: specialRegisters.pdptrs !== null,
      pdptrs: specialRegisters.pdptrs ?? [0n, 0n, 0n, 0n],
      events,
      hasTscOffset: tscOffset !== null,
      tscOffset: tscOffset ?? 0n,
      cpuid: [...state.cpuid],
      msrs,
      hasXcr0,
      xcrs: hasXcr0 ? others : [...state.xcrs],
      xsaveBytes: xsave.length,
      xsave: patchesBetween(joinExtendedState(cpu, xsave.length), xsave),
      hasLapic: lapic !== null,
      lapic: lapic === null ? [] : patchesBetween(joinApic(apic), lapic),
    },
  };
}

function saveCpu(state: VcpuState): CpuSection {
  const { registers, specialRegisters: special, debugRegisters: debug, events } = state;
  const hasException = events.exceptionInjected !== 0 || events.exceptionPending !== 0;
  const cpu: CpuSection = {
    registers: registerNames.map((name) => registers[name]),
    rip: registers.rip,
    rflags: registers.rflags,
    hflags: 0,
    fpuControl: 0,
    fpuStatus: 0,
    fpuTag: 0,
    fpuFormat: 0,
    x87: [],
    segments: segmentNames.map((name) => saveSegment(special[name])),
    ldt: saveSegment(special.ldt),
    tr: saveSegment(special.tr),
    gdt: saveTable(special.gdt),
    idt: saveTable(special.idt),
    sysenterCs: 0,
    sysenterEsp: 0n,
    sysenterEip: 0n,
    cr0: special.cr0,
    cr2: special.cr2,
    cr3: special.cr3,
    cr4: special.cr4,
    debug: [debug.db0, debug.db1, debug.db2, debug.db3, 0n, 0n, debug.dr6, debug.dr7],
    a20Mask: ALL_BITS,
    mxcsr: 0,
    xmm: [],
    efer: special.efer,
    star: 0n,
    lstar: 0n,
    cstar: 0n,
    fmask: 0n,
    kernelGsBase: 0n,
    smbase: 0,
    pat: 0n,
    hflags2: 0,
    vmHsave: 0n,
    svmVmcb: 0n,
    svmTscOffset: 0n,
    svmIntercept: 0n,
    svmInterceptCrRead: 0,
    svmInterceptCrWrite: 0,
    svmInterceptDrRead: 0,
    svmInterceptDrWrite: 0,
    svmInterceptExceptions: 0,
    svmTpr: 0,
    mtrrFixed: new Array<bigint>(11).fill(0n),
    mtrrDefaultType: 0n,
    mtrrVariable: Array.from({ length: 8 }, () => ({ base: 0n, mask: 0n })),
    interruptInjected: events.interruptInjected !== 0 ? events.interruptNr : -1,
    mpState: state.mpState,
    tsc: 0n,
    exceptionNr: hasException ? events.exceptionNr : -1,
    softInterrupt: events.interruptSoft,
    nmiInjected: events.nmiInjected,
    nmiPending: events.nmiPending,
    hasErrorCode: events.exceptionHasErrorCode,
    sipiVector: events.sipiVector,
    mcgCap: 0n,
    mcgStatus: 0n,
    mcgCtl: 0n,
    mceBanks: new Array<bigint>(40).fill(0n),
    tscAux: 0n,
    systemTime: 0n,
    wallClock: 0n,
    xcr0: 0n,
    xstateBv: 0n,
    ymm: [],
    ...(state.tscKhz !== null && { tscKhz: { value: BigInt(state.tscKhz) } }),
  };
  saveExtendedState(cpu, new Struct(state.xsave));
  return cpu;
}

/** The state that the sections are of. Throws `STATE_INVALID` where they make none. */
export function joinVcpu({ cpu, apic, own }: Omit<VcpuSections, "common">): VcpuState {
  const [db0, db1, db2, db3, , , dr6, dr7] = cpu.debug as [bigint, bigint, bigint, bigint, 0n, 0n, bigint, bigint];
  const registers = { rip: cpu.rip, rflags: cpu.rflags } as Registers;
  for (const [i, name] of registerNames.entries()) registers[name] = cpu.registers[i] as bigint;
  const xsave = joinExtendedState(cpu, own.xsaveBytes);
  return {
    apicId: own.apicId,
    mpState: cpu.mpState,
    cpuid: own.cpuid,
    registers,
    specialRegisters: joinSpecialRegisters(cpu, own),
    xsave: applyPatches("the XSAVE area", xsave, own.xsave),
    xcrs: [...(own.hasXcr0 ? [{ xcr: 0, value: cpu.xcr0 }] : []), ...own.xcrs],
    debugRegisters: { db0, db1, db2, db3, dr6, dr7 },
    lapic: own.hasLapic ? applyPatches("the LAPIC", joinApic(apic), own.lapic) : null,
    msrs: own.msrs.map((entry) => joinMsr(cpu, entry)),
    tscKhz: joinTscKhz(cpu),
    tscOffset: own.hasTscOffset ? own.tscOffset : null,
    events: own.events,
  };
}

function joinSpecialRegisters(cpu: CpuSection, own: OwnVcpuSection): SpecialRegisters {
  const all = [...cpu.segments, cpu.ldt, cpu.tr];
  const segments = allSegments.map((name, i) => [
    name,
    joinSegment(all[i] as (typeof all)[number], ((own.unusable >> i) & 1) !== 0),
  ]);
  return {
    ...(Object.fromEntries(segments) as Pick<SpecialRegisters, (typeof allSegments)[number]>),
    gdt: joinTable(cpu.gdt),
    idt: joinTable(cpu.idt),
    cr0: cpu.cr0,
    cr2: cpu.cr2,
    cr3: cpu.cr3,
    cr4: cpu.cr4,
    cr8: own.cr8,
    efer: cpu.efer,
    apicBase: own.apicBase,
    pdptrs: own.hasPdptrs ? own.pdptrs : null,
  };
}

function joinMsr(cpu: CpuSection, { index, inCpu, data }: OwnVcpuSection["msrs"][number]): MsrEntry {
  if (!inCpu) return { index, data };
  const place = msrPlace(index);
  if (place === undefined) {
    throw new BatonError("STATE_INVALID", `The section cpu has no place for MSR 0x${index.toString(16)}`);
  }
  return { index, data: place.read(cpu) };
}

function joinTscKhz({ tscKhz }: CpuSection): number | null {
  if (tscKhz === undefined) return null;
  const { value } = tscKhz;
  if (value < 1n || value > 0xffff_ffffn) throw new BatonError("STATE_INVALID", `A TSC of ${value} kHz`);
  return Number(value);
}
