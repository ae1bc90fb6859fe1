import type { GuestMemory } from "@baton/memory";
import { Struct } from "../../struct.js";
import type { Vcpu } from "../../vcpu.js";
import { getSpecialRegisters, setRegisters, setSpecialRegisters } from "../state.js";
import { bootLayout, type MemoryMapEntry, memoryMapType } from "./layout.js";
import { flatSegment, resetRegisters, writeGdt } from "./segments.js";

const START_MAGIC = 0x336ec578;
const INFO_SIZE = 56n;
const MODULE_SIZE = 32n;
const MAP_ENTRY_SIZE = 24;
const CR0_PE = 1n;
const CR0_ET = 0x10n;

/** Writes `hvm_start_info` version 1 with its module list and memory map (Xen public header arch-x86/hvm/start_info.h). */
export function writePvhStartInfo(
  memory: GuestMemory,
  info: {
    readonly map: readonly MemoryMapEntry[];
    readonly cmdline: bigint;
    readonly initrd: { readonly gpa: bigint; readonly size: number } | null;
    readonly rsdp: bigint;
  },
): void {
  const modules = bootLayout.pvhStartInfo + INFO_SIZE;
  const mapAt = modules + MODULE_SIZE;
  const start = new Struct(Number(INFO_SIZE))
    .setU32(0, START_MAGIC)
    .setU32(4, 1)
    .setU32(12, info.initrd === null ? 0 : 1)
    .setU64(16, info.initrd === null ? 0n : modules)
    .setU64(24, info.cmdline)
    .setU64(32, info.rsdp)
    .setU64(40, mapAt)
    .setU32(48, info.map.length);
  memory.write(bootLayout.pvhStartInfo, start.bytes);
  if (info.initrd !== null) {
    const module = new Struct(Number(MODULE_SIZE)).setU64(0, info.initrd.gpa).setU64(8, BigInt(info.initrd.size));
    memory.write(modules, module.bytes);
  }
  info.map.forEach((entry, i) => {
    const item = new Struct(MAP_ENTRY_SIZE)
      .setU64(0, entry.base)
      .setU64(8, entry.size)
      .setU32(16, memoryMapType[entry.type]);
    memory.write(mapAt + BigInt(i * MAP_ENTRY_SIZE), item.bytes);
  });
}

/** Enters in 32-bit protected mode without paging, `ebx` at the start info (Xen, docs/misc/pvh). */
export function enterPvh(vcpu: Vcpu, memory: GuestMemory, entry: bigint): void {
  const gdt = writeGdt(memory, "code32");
  const special = getSpecialRegisters(vcpu);
  const data = flatSegment(0x10, 3, { db: 1 });
  setSpecialRegisters(vcpu, {
    ...special,
    cs: flatSegment(0x08, 11, { db: 1 }),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    tr: { ...flatSegment(0x18, 11, { db: 0 }), s: 0, g: 0, limit: 0x67 },
    gdt,
    idt: { base: 0n, limit: 0 },
    cr0: CR0_PE | CR0_ET,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  });
  setRegisters(vcpu, { ...resetRegisters, rip: entry, rbx: bootLayout.pvhStartInfo });
}
