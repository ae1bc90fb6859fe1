import type { CpuSection } from "./cpu.js";

/** Where an MSR's value stands in a {@link CpuSection}. */
interface MsrPlace {
  read(cpu: CpuSection): bigint;
  write(cpu: CpuSection, value: bigint): void;
  /** Bits that there is room for. */
  readonly bits: 32 | 64;
}

type MembersOf<T> = { [K in keyof CpuSection]-?: CpuSection[K] extends T ? K : never }[keyof CpuSection];

const places = new Map<number, MsrPlace>();

function wide(index: number, member: MembersOf<bigint>): void {
  places.set(index, {
    bits: 64,
    read: (cpu) => cpu[member],
    write: (cpu, value) => {
      cpu[member] = value;
    },
  });
}

function word(index: number, member: MembersOf<number>): void {
  places.set(index, {
    bits: 32,
    read: (cpu) => BigInt(cpu[member]),
    write: (cpu, value) => {
      cpu[member] = Number(value);
    },
  });
}

function element(index: number, member: MembersOf<bigint[]>, at: number): void {
  places.set(index, {
    bits: 64,
    read: (cpu) => cpu[member][at] ?? 0n,
    write: (cpu, value) => {
      cpu[member][at] = value;
    },
  });
}

function variableMtrr(index: number, at: number, member: "base" | "mask"): void {
  places.set(index, {
    bits: 64,
    read: (cpu) => cpu.mtrrVariable[at]?.[member] ?? 0n,
    write: (cpu, value) => {
      const mtrr = cpu.mtrrVariable[at];
      if (mtrr !== undefined) mtrr[member] = value;
    },
  });
}

type WideSubsection = MembersOf<{ value: bigint } | undefined>;

/** A subsection, which is absent where the value is 0. */
function subsection(index: number, member: Exclude<WideSubsection, "tscKhz">): void {
  places.set(index, {
    bits: 64,
    read: (cpu) => cpu[member]?.value ?? 0n,
    write: (cpu, value) => {
      if (value !== 0n) cpu[member] = { value };
    },
  });
}

wide(0x10, "tsc");
wide(0x11, "wallClock");
wide(0x12, "systemTime");
word(0x9e, "smbase");
word(0x174, "sysenterCs");
wide(0x175, "sysenterEsp");
wide(0x176, "sysenterEip");
wide(0x179, "mcgCap");
wide(0x17a, "mcgStatus");
wide(0x17b, "mcgCtl");
for (let i = 0; i < 8; i++) {
  variableMtrr(0x200 + 2 * i, i, "base");
  variableMtrr(0x201 + 2 * i, i, "mask");
}
for (const [at, index] of [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f].entries()) {
  element(index, "mtrrFixed", at);
}
wide(0x277, "pat");
wide(0x2ff, "mtrrDefaultType");
for (let i = 0; i < 40; i++) element(0x400 + i, "mceBanks", i);
wide(0xc0000081, "star");
wide(0xc0000082, "lstar");
wide(0xc0000083, "cstar");
wide(0xc0000084, "fmask");
wide(0xc0000102, "kernelGsBase");
wide(0xc0000103, "tscAux");
wide(0xc0010117, "vmHsave");
subsection(0x34, "smiCount");
subsection(0x3a, "featureControl");
subsection(0x3b, "tscAdjust");
subsection(0x48, "spec");
subsection(0x1a0, "miscEnable");
subsection(0x4d0, "mcgExtCtl");
subsection(0x6e0, "tscDeadline");
subsection(0xda0, "xss");
subsection(0x4b564d02, "asyncPf");
subsection(0x4b564d03, "stealTime");
subsection(0x4b564d04, "pvEoi");
subsection(0x4b564d05, "pollControl");
subsection(0xc001011f, "virtSsbd");

/** The place that QEMU's section has for an MSR (Intel SDM 4; the kernel's `kvm_para.h`); undefined for most. */
export function msrPlace(index: number): MsrPlace | undefined {
  return places.get(index);
}
