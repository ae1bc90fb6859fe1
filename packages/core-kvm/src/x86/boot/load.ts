import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Vcpu } from "../../vcpu.js";
import { type BzImage, isBzImage, parseBzImage } from "./bzimage.js";
import { type ElfImage, isElf, parseElf } from "./elf.js";
import { bootLayout, memoryMap } from "./layout.js";
import { enterLinux64, writeZeroPage } from "./linux64.js";
import { enterPvh, writePvhStartInfo } from "./pvh.js";

/** What is to be booted. */
export interface BootSource {
  /** A bzImage, or an ELF kernel. */
  readonly kernel: { readonly name: string; readonly bytes: Uint8Array };
  readonly initrd?: { readonly name: string; readonly bytes: Uint8Array };
  readonly cmdline: string;
  /** Where the ACPI tables' root pointer lies; 0 without ACPI. */
  readonly rsdp: bigint;
  /** For ELF kernels that know both: PVH unless said otherwise. */
  readonly protocol?: "pvh" | "linux64";
}

/** How the boot vCPU enters a kernel that has been loaded. */
export interface BootPlan {
  readonly protocol: "pvh" | "linux64";
  readonly entry: bigint;
  /** Sets the registers of a vCPU in its reset state. */
  enter(vcpu: Vcpu): void;
}

const PAGE = 4096n;

/**
 * Puts kernel, initrd, command line and boot parameters into guest memory.
 *
 * Errors: `KERNEL_FORMAT`, `KERNEL_ARCHITECTURE`, `KERNEL_TRUNCATED`, `KERNEL_TOO_LARGE`, `INITRD_TOO_LARGE`,
 * `CMDLINE_TOO_LONG`, `CMDLINE_INVALID`; each names the file and the sizes.
 */
export function loadKernel(memory: GuestMemory, source: BootSource): BootPlan {
  const { name, bytes } = source.kernel;
  if (isElf(bytes)) return loadElf(memory, source, parseElf(bytes, name));
  if (isBzImage(bytes)) return loadBzImage(memory, source, parseBzImage(bytes, name));
  throw new BatonError("KERNEL_FORMAT", `${name} is neither a Linux bzImage nor an ELF file`, {
    hint: "Give a distribution's vmlinuz, or an uncompressed vmlinux",
  });
}

function loadElf(memory: GuestMemory, source: BootSource, elf: ElfImage): BootPlan {
  const { name, bytes } = source.kernel;
  let end = 0n;
  for (const segment of elf.segments) {
    const segmentEnd = segment.paddr + segment.memSize;
    if (!fits(memory, segment.paddr, segment.memSize)) throw tooLarge(memory, name, segmentEnd);
    memory.write(segment.paddr, bytes.subarray(segment.fileOffset, segment.fileOffset + segment.fileSize));
    if (segmentEnd > end) end = segmentEnd;
  }
  const pvh = elf.pvhEntry !== null && source.protocol !== "linux64";
  const cmdline = writeCmdline(memory, source.cmdline, 2047);
  const initrd = placeInitrd(memory, source, end, 0xffffffffn);
  const map = memoryMap(memory.describe().regions);
  if (pvh) {
    writePvhStartInfo(memory, { map, cmdline: bootLayout.cmdline, initrd, rsdp: source.rsdp });
    const entry = elf.pvhEntry as bigint;
    return { protocol: "pvh", entry, enter: (vcpu) => enterPvh(vcpu, memory, entry) };
  }
  writeZeroPage(memory, { map, cmdlineSize: cmdline, initrd, rsdp: source.rsdp, setupHeader: null });
  return { protocol: "linux64", entry: elf.entry, enter: (vcpu) => enterLinux64(vcpu, memory, elf.entry) };
}

function loadBzImage(memory: GuestMemory, source: BootSource, image: BzImage): BootPlan {
  const { name, bytes } = source.kernel;
  const kernel = bytes.subarray(image.kernelOffset);
  const load = image.loadAddress;
  const end = load + BigInt(Math.max(image.initSize, kernel.length));
  if (!fits(memory, load, end - load)) throw tooLarge(memory, name, end);
  memory.write(load, kernel);
  const cmdlineSize = writeCmdline(memory, source.cmdline, image.cmdlineSize);
  const initrd = placeInitrd(memory, source, end, BigInt(image.initrdMax));
  const map = memoryMap(memory.describe().regions);
  writeZeroPage(memory, { map, cmdlineSize, initrd, rsdp: source.rsdp, setupHeader: image.setupHeader });
  const entry = load + 0x200n;
  return { protocol: "linux64", entry, enter: (vcpu) => enterLinux64(vcpu, memory, entry) };
}

/** Puts the initrd as high as RAM below the limit and below the device gap allows, clear of the kernel. */
function placeInitrd(
  memory: GuestMemory,
  source: BootSource,
  kernelEnd: bigint,
  max: bigint,
): { gpa: bigint; size: number } | null {
  if (source.initrd === undefined) return null;
  const { name, bytes } = source.initrd;
  const low = memory.describe().regions.find((region) => region.gpa === 0n);
  let top = low === undefined ? 0n : low.size;
  if (top > max + 1n) top = max + 1n;
  const gpa = (top - BigInt(bytes.length)) & ~(PAGE - 1n);
  if (BigInt(bytes.length) > top || gpa < kernelEnd) {
    const room = top > kernelEnd ? top - kernelEnd : 0n;
    throw new BatonError(
      "INITRD_TOO_LARGE",
      `${name} has ${bytes.length} bytes and does not fit into the ${room} bytes of RAM above the kernel`,
      { hint: "Give the guest more memory (-m)" },
    );
  }
  memory.write(gpa, bytes);
  return { gpa, size: bytes.length };
}

function writeCmdline(memory: GuestMemory, cmdline: string, kernelLimit: number): number {
  const bytes = new TextEncoder().encode(cmdline);
  if (bytes.includes(0)) throw new BatonError("CMDLINE_INVALID", "The kernel command line contains a NUL character");
  const limit = Math.min(kernelLimit, Number(bootLayout.cmdlineEnd - bootLayout.cmdline) - 1);
  if (bytes.length > limit) {
    throw new BatonError(
      "CMDLINE_TOO_LONG",
      `The kernel command line has ${bytes.length} bytes; this kernel takes ${limit}`,
    );
  }
  memory.write(bootLayout.cmdline, Uint8Array.of(...bytes, 0));
  return bytes.length;
}

function fits(memory: GuestMemory, gpa: bigint, size: bigint): boolean {
  return memory.describe().regions.some((region) => gpa >= region.gpa && gpa + size <= region.gpa + region.size);
}

function tooLarge(memory: GuestMemory, name: string, end: bigint): BatonError {
  const ram = memory.describe().regions.reduce((sum, region) => sum + region.size, 0n);
  return new BatonError(
    "KERNEL_TOO_LARGE",
    `${name} needs memory up to 0x${end.toString(16)}; the guest has ${ram >> 20n} MiB`,
    {
      hint: "Give the guest more memory (-m)",
    },
  );
}
