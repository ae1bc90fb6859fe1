import { describe, expect, it } from "@jest/globals";
import { type CpuidEntry, checkCpuFeatures } from "./cpuid.js";

const leaf = (number: number, registers: Partial<CpuidEntry>): CpuidEntry => ({
  function: number,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...registers,
});
const bit = (...numbers: number[]) => numbers.reduce((sum, number) => sum + 2 ** number, 0);

describe("the CPU features that a guest was told of", () => {
  const host = [leaf(1, { ecx: bit(0, 28), edx: bit(0) }), leaf(7, { ebx: bit(5, 3) })];

  it("may be fewer than the host's, and those that no host lists", () => {
    checkCpuFeatures(host, host);
    checkCpuFeatures([leaf(1, { ecx: bit(0) })], host);
    // hypervisor, OSXSAVE, TSC deadline; HT.
    checkCpuFeatures([leaf(1, { ecx: bit(31, 27, 24), edx: bit(28) })], host);
  });

  it("are named where the host lacks them, in whatever leaf", () => {
    const guest = [
      leaf(1, { ecx: bit(28, 29, 30) }),
      leaf(7, { ebx: bit(5, 16, 31) }),
      leaf(0x8000_0001, { ecx: bit(16) }),
    ];
    const features = ["f16c", "rdrand", "avx512f", "avx512vl", "fma4"];
    const error = { code: "CPU_FEATURE_UNSUPPORTED", details: { features } };
    expect(() => checkCpuFeatures(guest, host)).toThrow(expect.objectContaining(error));
  });
});
