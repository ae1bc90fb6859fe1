import { RamBlock } from "@baton/memory";
import type { ExpectedSection, OutgoingSection, StreamRam } from "../../src/index.js";
import {
  array,
  bitmap,
  bool,
  buffer,
  existsIf,
  i16,
  list,
  named,
  pointers,
  struct,
  text,
  timer,
  tree,
  u8,
  u16,
  u32,
  u64,
  unused,
  vmstate,
} from "../../src/vmstate/index.js";

const PAGE = 4096;

const queue = vmstate({
  name: "sample/queue",
  version: 2,
  fields: { lastAvail: named("last_avail", u16), ready: bool },
});

const tail = vmstate({
  name: "sample/tail",
  version: 1,
  fields: { kept: u8 },
  subsections: {
    more: vmstate({ name: "sample/tail/more", version: 1, fields: { extra: u16 } }),
  },
});

/** A device with an example of every shape of field. */
export const sample = vmstate({
  name: "sample",
  version: 3,
  minimumVersion: 2,
  fields: {
    id: u32,
    negative: i16,
    wide: u64,
    on: bool,
    gap: unused(3),
    armed: timer,
    raw: buffer(5),
    count: u8,
    words: array("count", u16),
    bytes: array(3, u8),
    queues: array(2, struct(queue)),
    tails: array(2, struct(tail)),
    holes: pointers(3, u16),
    bits: bitmap(70),
    names: array(2, text),
    items: list(u8),
    nodes: tree(u64, u8),
    cr0: named("cr", u32),
    cr2: named("cr", u32),
    odd: existsIf<number, unknown, { on: boolean }>(["on"], (state) => state.on, u8, 0),
  },
  subsections: {
    late: vmstate({ name: "sample/late", version: 1, fields: { value: u32 } }),
    absent: vmstate({ name: "sample/absent", version: 1, fields: { value: u32 } }),
  },
});

/** A small device. */
export const small = vmstate({ name: "small", version: 1, fields: { value: u32 } });
/** A device that comes before memory. */
export const early = vmstate({ name: "early", version: 1, earlySetup: true, fields: { value: u8 } });

/** A state of {@link sample}. */
export const sampleState = {
  id: 0xdead_beef,
  negative: -2,
  wide: 2n ** 63n,
  on: true,
  armed: null,
  raw: Uint8Array.of(1, 2, 3, 4, 5),
  count: 2,
  words: [0x1234, 0xfedc],
  bytes: [7, 8, 9],
  queues: [
    { lastAvail: 5, ready: true },
    { lastAvail: 6, ready: false },
  ],
  tails: [{ kept: 1, more: { extra: 2 } }, { kept: 3 }],
  holes: [1, null, 3],
  bits: BigUint64Array.of(3n, 1n),
  names: ["a", "längere"],
  items: [4, 5, 6],
  nodes: [{ key: 1n, value: 2 }],
  cr0: 0x31,
  cr2: 0x32,
  odd: 9,
  late: { value: 77 },
};

/** What the sample's sections are. */
export const sections: readonly OutgoingSection[] = [
  { idstr: "early", instanceId: 0, descriptor: early, state: { value: 1 } },
  { idstr: "0000:00:01.0/sample", instanceId: 0, descriptor: sample, state: sampleState },
  { idstr: "small", instanceId: 0, descriptor: small, state: { value: 2 } },
  { idstr: "small", instanceId: 1, descriptor: small, state: { value: 3 } },
];

/** What a reader of them expects. */
export const expected: readonly ExpectedSection[] = sections.map(({ state: _, ...section }) => ({
  ...section,
  ...(section.descriptor === sample ? { local: { holes: [0, null, 0] } } : {}),
}));

/** Two blocks of so many pages; with `fill`, every page that is no multiple of three has content. */
export function ram(fill: boolean, pages = 48): StreamRam[] {
  return [
    { id: "small.ram", count: 4 },
    { id: "pc.ram", count: pages },
  ].map(({ id, count }, n) => {
    const block = RamBlock.create({ id, size: BigInt(count * PAGE) });
    for (let page = 0; fill && page < count; page++) {
      if (page % 3 === 0) continue;
      const words = new Uint32Array(block.view(page * PAGE, PAGE));
      for (let i = 0; i < words.length; i++) words[i] = Math.imul(page + 1 + n, 2654435761) + i;
    }
    return { block, gpa: BigInt(n) << 32n };
  });
}

/** The contents of blocks. */
export function contentsOf(blocks: readonly StreamRam[]): Record<string, Buffer> {
  return Object.fromEntries(
    blocks.map(({ block }) => [block.id, Buffer.from(block.view(0, Number(block.size)).slice(0))]),
  );
}

/** Unmaps blocks. */
export function closeRam(...all: readonly (readonly StreamRam[])[]): void {
  for (const { block } of all.flat()) block.close();
}
