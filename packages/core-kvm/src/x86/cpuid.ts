import { BatonError } from "@baton/linux";
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2, kvm_cpuid2 } from "../abi/kvm.js";
import { Struct } from "../struct.js";
import { type CpuTopology, topologyBits } from "./topology.js";

/** One CPUID leaf as KVM holds it: what the guest reads for `function` (and `index`, where flags say that it counts). */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

type Register = "eax" | "ebx" | "ecx" | "edx";
const registers = ["eax", "ebx", "ecx", "edx"] as const;

/** Reads a `kvm_cpuid2` (KVM API 4.46). */
export function decodeCpuid(list: Struct): readonly CpuidEntry[] {
  return Array.from({ length: list.u32(kvm_cpuid2.nent) }, (_, i) => {
    const at = kvm_cpuid2.entries + i * kvm_cpuid_entry2.size;
    return {
      function: list.u32(at + kvm_cpuid_entry2.function),
      index: list.u32(at + kvm_cpuid_entry2.index),
      flags: list.u32(at + kvm_cpuid_entry2.flags),
      eax: list.u32(at + kvm_cpuid_entry2.eax),
      ebx: list.u32(at + kvm_cpuid_entry2.ebx),
      ecx: list.u32(at + kvm_cpuid_entry2.ecx),
      edx: list.u32(at + kvm_cpuid_entry2.edx),
    };
  });
}

/** Writes a `kvm_cpuid2`. */
export function encodeCpuid(entries: readonly CpuidEntry[]): Struct {
  const list = new Struct(kvm_cpuid2.size + entries.length * kvm_cpuid_entry2.size);
  list.setU32(kvm_cpuid2.nent, entries.length);
  entries.forEach((entry, i) => {
    const at = kvm_cpuid2.entries + i * kvm_cpuid_entry2.size;
    for (const field of ["function", "index", "flags", ...registers] as const) {
      list.setU32(at + kvm_cpuid_entry2[field], entry[field]);
    }
  });
  return list;
}

type Feature = readonly [leaf: number, index: number, register: Register, bit: number];

/** CPU features by the names that QEMU gives them: leaf, index, register and bit. */
const features: Readonly<Record<string, Feature>> = {
  ...bits(
    1,
    0,
    "edx",
    "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
  ),
  ...bits(
    1,
    0,
    "ecx",
    "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c rdrand hypervisor",
  ),
  ...bits(
    7,
    0,
    "ebx",
    "fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl",
  ),
  ...bits(
    7,
    0,
    "ecx",
    "- avx512vbmi umip pku ospke waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni avx512bitalg - avx512-vpopcntdq - la57 - - - - - rdpid - - cldemote - movdiri movdir64b",
  ),
  ...bits(
    7,
    0,
    "edx",
    "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - tsx-ldtrk - - - - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp - arch-capabilities core-capability ssbd",
  ),
  ...bits(
    0x80000001,
    0,
    "edx",
    "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
  ),
  ...bits(
    0x80000001,
    0,
    "ecx",
    "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb",
  ),
};

function bits(leaf: number, index: number, register: Register, names: string) {
  const table: Record<string, Feature> = {};
  names.split(" ").forEach((name, bit) => {
    if (name !== "-") table[name] = [leaf, index, register, bit];
  });
  return table;
}

/** Names of all features that `-cpu host,+NAME,-NAME` knows. */
export const cpuFeatureNames: readonly string[] = Object.freeze(Object.keys(features));

/** What a guest is told although `KVM_GET_SUPPORTED_CPUID` does not list it: it is KVM's, the topology's, or follows CR4. */
const NOT_LISTED = new Set(["hypervisor", "tsc-deadline", "osxsave", "ospke", "ht"]);

/**
 * Throws `CPU_FEATURE_UNSUPPORTED`, with the features' names, where a guest has been told of features that this host
 * does not have: it may use them, and would fail at any later moment. `here` is what KVM supports and what it tells a vCPU of
 * its own; a leaf may be there twice.
 */
export function checkCpuFeatures(told: readonly CpuidEntry[], here: readonly CpuidEntry[]): void {
  const has = (entries: readonly CpuidEntry[], [leaf, index, register, bit]: Feature) =>
    entries.some((e) => e.function === leaf && e.index === index && ((e[register] >>> bit) & 1) === 1);
  const missing = cpuFeatureNames.filter((name) => {
    const feature = features[name] as Feature;
    return !NOT_LISTED.has(name) && has(told, feature) && !has(here, feature);
  });
  if (missing.length === 0) return;
  throw new BatonError(
    "CPU_FEATURE_UNSUPPORTED",
    `This host lacks CPU features that the guest has: ${missing.join(", ")}`,
    {
      details: { features: missing },
      hint: "Start the guest with a CPU that all its hosts have, as in -cpu host,-NAME",
    },
  );
}

/** What a guest's vCPU shall report. */
export interface GuestCpuidOptions {
  readonly topology: CpuTopology;
  /** The vCPU's APIC id. */
  readonly apicId: number;
  /** Whether the LAPIC's TSC-deadline timer is offered. */
  readonly tscDeadline: boolean;
  /** Features by name, on or off; on needs the host's support, except `hypervisor`. */
  readonly features?: ReadonlyMap<string, boolean>;
}

/**
 * Makes a vCPU's CPUID from what the host supports: the hypervisor bit, APIC id and topology (leaves 1, 4, 0xB, 0x1F,
 * 0x80000008, 0x8000001E), virtualisation extensions off unless asked for, and the features asked for.
 *
 * Errors: `CPU_FEATURE_UNKNOWN`, `CPU_FEATURE_UNSUPPORTED`.
 */
export function guestCpuid(supported: readonly CpuidEntry[], options: GuestCpuidOptions): readonly CpuidEntry[] {
  const entries = supported.filter((e) => e.function !== 0xb && e.function !== 0x1f).map((e) => ({ ...e }));
  const find = (leaf: number, index = 0) => entries.find((e) => e.function === leaf && e.index === index);
  setBit(find(1), "ecx", 31, true);
  setBit(find(1), "ecx", 24, options.tscDeadline);
  setBit(find(1), "ecx", 5, false);
  setBit(find(0x80000001), "ecx", 2, false);
  for (const [name, on] of options.features ?? []) {
    const feature = Object.hasOwn(features, name) ? features[name] : undefined;
    if (feature === undefined) throw new BatonError("CPU_FEATURE_UNKNOWN", `Unknown CPU feature '${name}'`);
    const [leaf, index, register, bit] = feature;
    const host = supported.find((e) => e.function === leaf && e.index === index)?.[register] ?? 0;
    if (on && name !== "hypervisor" && ((host >>> bit) & 1) === 0) {
      throw new BatonError("CPU_FEATURE_UNSUPPORTED", `CPU feature '${name}' is not supported by this host`);
    }
    setBit(find(leaf, index), register, bit, on);
  }
  applyTopology(entries, options);
  return entries;
}

function setBit(entry: { [R in Register]: number } | undefined, register: Register, bit: number, on: boolean): void {
  if (entry === undefined) return;
  const mask = 2 ** bit;
  const set = Math.floor(entry[register] / mask) % 2 === 1;
  if (set !== on) entry[register] += on ? mask : -mask;
}

type Mutable = { -readonly [K in keyof CpuidEntry]: CpuidEntry[K] };

function applyTopology(entries: Mutable[], { topology, apicId }: GuestCpuidOptions): void {
  const { threadBits, coreBits } = topologyBits(topology);
  const threadsPerCore = topology.threads;
  const threadsPerSocket = topology.dies * topology.cores * topology.threads;
  const logical = 1 << coreBits;
  for (const entry of entries) {
    if (entry.function === 1) {
      entry.ebx = ((apicId & 0xff) * 2 ** 24 + (Math.min(logical, 255) << 16) + (entry.ebx & 0xffff)) >>> 0;
      setBit(entry, "edx", 28, threadsPerSocket > 1);
    } else if (entry.function === 4 && (entry.eax & 31) !== 0) {
      const level = (entry.eax >>> 5) & 7;
      const sharing = level >= 3 ? logical : 1 << threadBits;
      entry.eax =
        ((entry.eax & 0x3fff) + (sharing - 1) * 2 ** 14 + ((1 << (coreBits - threadBits)) - 1) * 2 ** 26) >>> 0;
    } else if (entry.function === 0x80000008) {
      entry.ecx = threadsPerSocket > 1 ? ((coreBits << 12) | (threadsPerSocket - 1)) >>> 0 : 0;
    } else if (entry.function === 0x8000001e) {
      entry.eax = apicId;
      entry.ebx = ((threadsPerCore - 1) << 8) | (apicId >> threadBits);
      entry.ecx = 0;
    }
  }
  for (const leaf of [0xb, 0x1f]) {
    if (leaf === 0x1f && !entries.some((e) => e.function === 0 && e.eax >= 0x1f)) continue;
    const level = (index: number, shift: number, count: number, type: number) => ({
      function: leaf,
      index,
      flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
      eax: shift,
      ebx: count,
      ecx: index | (type << 8),
      edx: apicId,
    });
    entries.push(level(0, threadBits, threadsPerCore, 1), level(1, coreBits, threadsPerSocket, 2), level(2, 0, 0, 0));
  }
}
