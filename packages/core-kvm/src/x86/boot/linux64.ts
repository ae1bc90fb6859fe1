import type { GuestMemory } from "@baton/memory";
import { Struct } from "../../struct.js";
import type { Vcpu } from "../../vcpu.js";
import { getSpecialRegisters, setRegisters, setSpecialRegisters } from "../state.js";
import { bootLayout, type MemoryMapEntry, memoryMapType } from "./layout.js";
import { flatSegment, resetRegisters, writeGdt } from "./segments.js";

const ZERO_PAGE_SIZE = 4096;
const E820_TABLE = 0x2d0;
const E820_ENTRY_SIZE = 20;
const HEADER = 0x1f1;
/** "Undefined" boot loader with extended type, as boot.rst asks of those without a number of their own. */
const LOADER_UNDEFINED = 0xff;
const CAN_USE_HEAP = 0x80;
const CR0_PE_ET_PG = 0x80000011n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;
const PAGE_PRESENT_WRITE = 3n;
const PAGE_HUGE = 0x80n;

/** Writes `boot_params`, the zero page (Linux, Documentation/arch/x86/zero-page.rst). */
export function writeZeroPage(
  memory: GuestMemory,
  info: {
    readonly map: readonly MemoryMapEntry[];
    readonly cmdlineSize: number;
    readonly initrd: { readonly gpa: bigint; readonly size: number } | null;
    readonly rsdp: bigint;
    /** The kernel's own setup header; null for an ELF kernel, which has none. */
    readonly setupHeader: Uint8Array | null;
  },
): void {
  const page = new Struct(ZERO_PAGE_SIZE);
  if (info.setupHeader !== null) page.bytes.set(info.setupHeader, HEADER);
  else page.setU16(0x1fe, 0xaa55).setU32(0x202, 0x53726448).setU16(0x206, 0x020c).setU32(0x230, 0x1000000);
  page.setU64(0x070, info.rsdp);
  page.setU8(0x210, LOADER_UNDEFINED);
  page.setU8(0x211, page.u8(0x211) | CAN_USE_HEAP).setU16(0x224, 0xfe00);
  page.setU32(0x228, Number(bootLayout.cmdline)).setU32(0x238, info.cmdlineSize);
  if (info.initrd !== null) {
    page.setU32(0x218, Number(info.initrd.gpa & 0xffffffffn)).setU32(0x21c, info.initrd.size);
    page.setU32(0x0c0, Number(info.initrd.gpa >> 32n));
  }
  page.setU8(0x1e8, info.map.length);
  info.map.forEach((entry, i) => {
    const at = E820_TABLE + i * E820_ENTRY_SIZE;
    page
      .setU64(at, entry.base)
      .setU64(at + 8, entry.size)
      .setU32(at + 16, memoryMapType[entry.type]);
  });
  memory.write(bootLayout.zeroPage, page.bytes);
}

/** Enters in 64-bit mode with the first 4 GiB mapped one to one, `rsi` at the zero page (boot.rst, 64-bit boot protocol). */
export function enterLinux64(vcpu: Vcpu, memory: GuestMemory, entry: bigint): void {
  writeIdentityMap(memory);
  const gdt = writeGdt(memory, "code64");
  const data = flatSegment(0x18, 3, { db: 1 });
  setSpecialRegisters(vcpu, {
    ...getSpecialRegisters(vcpu),
    cs: flatSegment(0x10, 11, { l: 1 }),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    tr: { ...flatSegment(0x20, 11, {}), s: 0, g: 0, limit: 0x67 },
    gdt,
    idt: { base: 0n, limit: 0 },
    cr0: CR0_PE_ET_PG,
    cr3: bootLayout.pageTables,
    cr4: CR4_PAE,
    efer: EFER_LME_LMA,
  });
  setRegisters(vcpu, {
    ...resetRegisters,
    rip: entry,
    rsi: bootLayout.zeroPage,
    rsp: bootLayout.stackTop,
    rbp: bootLayout.stackTop,
  });
}

/** One PML4, one PDPT and four page directories of 2 MiB pages, one after the other. */
function writeIdentityMap(memory: GuestMemory): void {
  const PAGE = 0x1000;
  const tables = new Struct(6 * PAGE);
  const address = (page: number) => bootLayout.pageTables + BigInt(page * PAGE);
  tables.setU64(0, address(1) | PAGE_PRESENT_WRITE);
  for (let gib = 0; gib < 4; gib++) {
    tables.setU64(PAGE + gib * 8, address(2 + gib) | PAGE_PRESENT_WRITE);
    for (let i = 0; i < 512; i++) {
      const page = (BigInt(gib) << 30n) | (BigInt(i) << 21n);
      tables.setU64((2 + gib) * PAGE + i * 8, page | PAGE_HUGE | PAGE_PRESENT_WRITE);
    }
  }
  memory.write(bootLayout.pageTables, tables.bytes);
}
