/**
 * Where boot data lies in guest physical memory. Below 1 MiB, as StratoVirt and QEMU's microvm leave it; the gap below
 * 4 GiB holds devices.
 */
export const bootLayout = {
  gdt: 0x500n,
  pvhStartInfo: 0x6000n,
  zeroPage: 0x7000n,
  stackTop: 0x8ff0n,
  pageTables: 0x9000n,
  cmdline: 0x20000n,
  /** The command line's area ends here. */
  cmdlineEnd: 0x30000n,
  ebda: 0x9fc00n,
  biosEnd: 0x100000n,
  acpi: 0xe0000n,
  /** RAM above this lies from 4 GiB on. */
  lowRamLimit: 0xc0000000n,
  highRamBase: 0x100000000n,
  ioapic: 0xfec00000n,
  lapic: 0xfee00000n,
  /** One page for the identity map and three for the TSS, as Intel hosts want. */
  identityMap: 0xfeffc000n,
  tss: 0xfeffd000n,
} as const;

/** One entry of the memory map that the guest's kernel is given. */
export interface MemoryMapEntry {
  readonly base: bigint;
  readonly size: bigint;
  readonly type: "ram" | "reserved" | "acpi";
}

/** Numbers of E820 types, the same in the PVH memory map. */
export const memoryMapType: Readonly<Record<MemoryMapEntry["type"], number>> = { ram: 1, reserved: 2, acpi: 3 };

/** The memory map for RAM regions given by address: conventional memory, the BIOS area reserved, all else RAM. */
export function memoryMap(
  regions: readonly { readonly gpa: bigint; readonly size: bigint }[],
): readonly MemoryMapEntry[] {
  const map: MemoryMapEntry[] = [
    { base: 0n, size: bootLayout.ebda, type: "ram" },
    { base: bootLayout.ebda, size: 0xa0000n - bootLayout.ebda, type: "reserved" },
    { base: bootLayout.acpi, size: bootLayout.biosEnd - bootLayout.acpi, type: "reserved" },
  ];
  for (const { gpa, size } of regions) {
    const base = gpa < bootLayout.biosEnd ? bootLayout.biosEnd : gpa;
    const end = gpa + size;
    if (end > base) map.push({ base, size: end - base, type: "ram" });
  }
  return map;
}
