import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { type CpuidEntry, cpuFeatureNames, guestCpuid } from "./cpuid.js";
import { type CpuTopology, cpuPlace, topologyBits } from "./topology.js";

const count = fc.integer({ min: 1, max: 7 });
const topologies = fc.record({ sockets: count, dies: fc.integer({ min: 1, max: 3 }), cores: count, threads: count });
const size = (t: CpuTopology) => t.sockets * t.dies * t.cores * t.threads;

const entry = (leaf: number, values: Partial<CpuidEntry> = {}): CpuidEntry => ({
  ...{ function: leaf, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...values,
});
const host: readonly CpuidEntry[] = [
  entry(0, { eax: 0x1f }),
  entry(1, { eax: 0x806f8, ebx: 0xff20_0800, ecx: 0xffff_ffff, edx: 0xffff_ffff }),
  entry(4, { eax: 0xfc00_4121, flags: 1 }),
  entry(4, { index: 3, eax: 0xfc00_4163, flags: 1 }),
  entry(4, { index: 4, flags: 1 }),
  entry(7, { ebx: 0x20, flags: 1 }),
  entry(0xb, { index: 0, flags: 1, eax: 9, ebx: 99, edx: 77 }),
  entry(0xb, { index: 1, flags: 1, eax: 9, ebx: 99, edx: 77 }),
  entry(0x8000_0001, { ecx: 0xffff_ffff, edx: 0xffff_ffff }),
  entry(0x8000_0008, { ecx: 0x7077 }),
  entry(0x8000_001e, { eax: 5, ebx: 5, ecx: 5 }),
];
const single: CpuTopology = { sockets: 1, dies: 1, cores: 1, threads: 1 };
const cpuid = (topology: CpuTopology, index: number, features: readonly (readonly [string, boolean])[] = []) => {
  const { apicId } = cpuPlace(topology, index);
  const entries = guestCpuid(host, { topology, apicId, tscDeadline: true, features: new Map(features) });
  return (leaf: number, sub = 0) => entries.find((e) => e.function === leaf && e.index === sub) as CpuidEntry;
};

describe("CPU topology", () => {
  it("gives every vCPU a place and an APIC id of its own, in ascending order", () => {
    fc.assert(
      fc.property(topologies, (topology) => {
        const places = Array.from({ length: size(topology) }, (_, i) => cpuPlace(topology, i));
        const ids = places.map((place) => place.apicId);
        expect([...ids].sort((a, b) => a - b)).toEqual(ids);
        expect(new Set(ids).size).toBe(ids.length);
        const { threadBits, coreBits } = topologyBits(topology);
        for (const { apicId, socket, thread } of places) {
          expect(apicId >> coreBits).toBe(socket);
          expect(apicId & ((1 << threadBits) - 1)).toBe(thread);
        }
      }),
    );
  });

  it("leaves gaps where counts are no powers of two", () => {
    const topology = { sockets: 2, dies: 1, cores: 3, threads: 2 };
    expect(Array.from({ length: 12 }, (_, i) => cpuPlace(topology, i).apicId)).toEqual([
      ...[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13],
    ]);
  });

  it.each([-1, 4, 0.5, Number.NaN])("has no vCPU %d of four", (index) => {
    expect(() => cpuPlace({ ...single, sockets: 4 }, index)).toThrow(expect.objectContaining({ code: "CPU_TOPOLOGY" }));
  });
});

describe("a guest's CPUID", () => {
  it("describes the topology in leaves 0xB and 0x1F, and nothing of the host's", () => {
    fc.assert(
      fc.property(topologies, fc.nat(), (topology, seed) => {
        const index = seed % size(topology);
        const { apicId } = cpuPlace(topology, index);
        const leaf = cpuid(topology, index);
        const { threadBits, coreBits } = topologyBits(topology);
        const socket = topology.dies * topology.cores * topology.threads;
        for (const number of [0xb, 0x1f]) {
          expect(leaf(number, 0)).toMatchObject({ eax: threadBits, ebx: topology.threads, ecx: 0x100, edx: apicId });
          expect(leaf(number, 1)).toMatchObject({ eax: coreBits, ebx: socket, ecx: 0x201, edx: apicId });
          expect(leaf(number, 2)).toMatchObject({ eax: 0, ebx: 0, ecx: 2, edx: apicId });
        }
        expect(leaf(1).ebx >>> 24).toBe(apicId & 0xff);
        expect((leaf(1).ebx >>> 16) & 0xff).toBe(Math.min(1 << coreBits, 255));
        expect((leaf(1).edx >>> 28) & 1).toBe(socket > 1 ? 1 : 0);
        expect((leaf(4, 0).eax >>> 14) & 0xfff).toBe((1 << threadBits) - 1);
        expect((leaf(4, 3).eax >>> 14) & 0xfff).toBe((1 << coreBits) - 1);
        expect(leaf(4, 3).eax >>> 26).toBe((1 << (coreBits - threadBits)) - 1);
        expect(leaf(4, 4).eax).toBe(0);
        expect(leaf(0x8000_0008).ecx & 0xff).toBe(socket > 1 ? socket - 1 : 0);
        expect(leaf(0x8000_001e)).toMatchObject({ eax: apicId, ecx: 0 });
        for (const e of [leaf(1), leaf(4, 0), leaf(4, 3)]) {
          for (const value of [e.eax, e.ebx, e.ecx, e.edx]) expect(value).toBe(value >>> 0);
        }
      }),
    );
  });

  it("shows a hypervisor and no virtualisation of its own, unless asked for", () => {
    const plain = cpuid(single, 0);
    expect([(plain(1).ecx >>> 31) & 1, (plain(1).ecx >>> 5) & 1, (plain(0x8000_0001).ecx >>> 2) & 1]).toEqual([
      1, 0, 0,
    ]);
    const asked = cpuid(single, 0, [
      ["vmx", true],
      ["svm", true],
      ["hypervisor", false],
      ["bmi1", false],
      ["avx2", false],
    ]);
    expect([(asked(1).ecx >>> 31) & 1, (asked(1).ecx >>> 5) & 1, (asked(0x8000_0001).ecx >>> 2) & 1]).toEqual([
      0, 1, 1,
    ]);
    expect(asked(7).ebx).toBe(0);
  });

  it("refuses features that nobody or this host does not know", () => {
    for (const name of ["flux", "", "constructor", "__proto__"]) {
      expect(() => cpuid(single, 0, [[name, true]])).toThrow(expect.objectContaining({ code: "CPU_FEATURE_UNKNOWN" }));
    }
    expect(() => cpuid(single, 0, [["avx512f", true]])).toThrow(
      expect.objectContaining({ code: "CPU_FEATURE_UNSUPPORTED", message: expect.stringContaining("avx512f") }),
    );
  });

  it("turns every feature off by its name without touching another bit", () => {
    const bits = (leaf: ReturnType<typeof cpuid>) =>
      [leaf(1), leaf(7), leaf(0x8000_0001)].flatMap((e) => [e.eax, e.ebx, e.ecx, e.edx]);
    const before = bits(cpuid(single, 0));
    for (const name of cpuFeatureNames) {
      const changed = bits(cpuid(single, 0, [[name, false]])).map((value, i) => (value ^ (before[i] as number)) >>> 0);
      const different = changed.filter((difference) => difference !== 0);
      expect(different.length).toBeLessThanOrEqual(1);
      for (const difference of different) expect(Math.log2(difference) % 1).toBe(0);
    }
  });
});
