import { BatonError } from "@baton/linux";
import { type StateOf, u32, u64, vmstate } from "@baton/migration/vmstate";
import type { DescriptorTable, Segment } from "../registers.js";

/** A segment register as QEMU has it: `flags` are the second word of its descriptor. */
export const segmentVmstate = vmstate({
  name: "segment",
  version: 1,
  fields: { selector: u32, base: u64, limit: u32, flags: u32 },
});

/** A segment in QEMU's layout. */
export type SegmentSection = StateOf<typeof segmentVmstate>;

/** Where the attributes stand in a descriptor's second word (Intel SDM 3A, 3.4.5). */
const attributes = [
  ["type", 8, 4],
  ["s", 12, 1],
  ["dpl", 13, 2],
  ["present", 15, 1],
  ["avl", 20, 1],
  ["l", 21, 1],
  ["db", 22, 1],
  ["g", 23, 1],
] as const;

/** A segment in QEMU's layout; `unusable` has no room there. Throws `STATE_INVALID` for an attribute too wide. */
export function saveSegment(segment: Segment): SegmentSection {
  let flags = 0;
  for (const [name, shift, bits] of attributes) {
    const value = segment[name];
    if (value >> bits !== 0) throw new BatonError("STATE_INVALID", `A segment's ${name} is ${value}`);
    flags |= value << shift;
  }
  return { selector: segment.selector, base: segment.base, limit: segment.limit, flags: flags >>> 0 };
}

/** The segment of QEMU's layout. Throws `STATE_INVALID` for a selector of more than 16 bits. */
export function joinSegment(section: SegmentSection, unusable: boolean): Segment {
  const { selector, base, limit, flags } = section;
  if (selector > 0xffff) throw new BatonError("STATE_INVALID", `A segment's selector is 0x${selector.toString(16)}`);
  const values: Record<string, number> = {};
  for (const [name, shift, bits] of attributes) values[name] = (flags >>> shift) & ((1 << bits) - 1);
  return { base, limit, selector, ...values, unusable: unusable ? 1 : 0 } as Segment;
}

/** A descriptor table register in QEMU's layout. */
export function saveTable({ base, limit }: DescriptorTable): SegmentSection {
  return { selector: 0, base, limit, flags: 0 };
}

/** The descriptor table register of QEMU's layout. Throws `STATE_INVALID` for a limit of more than 16 bits. */
export function joinTable({ base, limit }: SegmentSection): DescriptorTable {
  if (limit > 0xffff) throw new BatonError("STATE_INVALID", `A descriptor table's limit is 0x${limit.toString(16)}`);
  return { base, limit };
}
