import type { GuestMemory } from "@baton/memory";
import { Struct } from "../../struct.js";
import type { DescriptorTable, Registers, Segment } from "../registers.js";
import { bootLayout } from "./layout.js";

/** General registers before a boot protocol sets its own: zero, with the flags' fixed bit. */
export const resetRegisters: Registers = Object.freeze({
  rax: 0n,
  rbx: 0n,
  rcx: 0n,
  rdx: 0n,
  rsi: 0n,
  rdi: 0n,
  rsp: 0n,
  rbp: 0n,
  r8: 0n,
  r9: 0n,
  r10: 0n,
  r11: 0n,
  r12: 0n,
  r13: 0n,
  r14: 0n,
  r15: 0n,
  rip: 0n,
  rflags: 2n,
});

/** A segment over the whole 4 GiB. `type` 11 is busy code, 3 is data, as in Intel SDM volume 3, 3.4.5. */
export function flatSegment(
  selector: number,
  type: number,
  options: { readonly db?: number; readonly l?: number },
): Segment {
  return {
    base: 0n,
    limit: 0xffffffff,
    selector,
    type,
    present: 1,
    dpl: 0,
    db: options.db ?? 0,
    s: 1,
    l: options.l ?? 0,
    g: 1,
    avl: 0,
    unusable: 0,
  };
}

const gdtEntries = {
  code32: [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00008b0000000067n],
  code64: [0n, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00008b0000000067n],
} as const;

/** Writes the descriptor table that a boot protocol asks for; segments must agree with it. */
export function writeGdt(memory: GuestMemory, kind: keyof typeof gdtEntries): DescriptorTable {
  const entries = gdtEntries[kind];
  const table = new Struct(entries.length * 8);
  entries.forEach((entry, i) => {
    table.setU64(i * 8, entry);
  });
  memory.write(bootLayout.gdt, table.bytes);
  return { base: bootLayout.gdt, limit: entries.length * 8 - 1 };
}
