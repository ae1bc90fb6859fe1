import { GuestMemory, RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import { areas } from "../../test/support/driver.js";
import { BASE, bits, features, RAM, ram } from "../../test/support/world.js";
import { createQueue } from "./create.js";
import type { QueueFault } from "./errors.js";

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const BUFFER = BASE + 0x8000;
const TABLE = BASE + 0x4000;

/** A descriptor: address, length, flags and, if split, the next. */
type Desc = readonly [gpa: number | bigint, length: number, flags: number, next?: number];
const good: Desc = [BUFFER, 8, 0];

/** Chains that break a queue of 8, with what they break. In a packed table no `next` is needed. */
const broken: [string, QueueFault, { ring: Desc[]; table?: Desc[]; only?: "split" | "packed"; indirect?: false }][] = [
  [
    "2.7.5.2: a chain that loops",
    "descriptor-loop",
    { ring: Array.from({ length: 8 }, (_, i) => [BUFFER, 8, NEXT, (i + 1) % 8]) },
  ],
  ["2.7.5: a descriptor beyond the table", "index-range", { ring: [[BUFFER, 8, NEXT, 8]], only: "split" }],
  ["a descriptor of no bytes", "zero-length", { ring: [[BUFFER, 0, 0]] }],
  ["a buffer before RAM", "address", { ring: [[BASE - 4, 8, 0]] }],
  ["a buffer that leaves RAM", "address", { ring: [[BASE + RAM - 4, 8, 0]] }],
  ["a buffer at the end of 64 bits", "address", { ring: [[2n ** 64n - 8n, 16, 0]] }],
  ["a buffer above 2^52", "address", { ring: [[2n ** 52n + BigInt(BUFFER), 8, WRITE]] }],
  ["2.7.4.2: readable after writable", "order", { ring: [[BUFFER, 8, WRITE | NEXT, 1], good] }],
  [
    "2.7.4.2: the same in a table",
    "order",
    { ring: [[TABLE, 32, INDIRECT]], table: [[BUFFER, 8, WRITE | NEXT, 1], good] },
  ],
  [
    "2.7.5.3: indirect without the feature",
    "indirect",
    { ring: [[TABLE, 16, INDIRECT]], table: [good], indirect: false },
  ],
  ["2.7.5.3.1: a table within a table", "indirect", { ring: [[TABLE, 16, INDIRECT]], table: [[TABLE, 16, INDIRECT]] }],
  ["2.7.5.3.1: indirect with next", "indirect", { ring: [[TABLE, 16, INDIRECT | NEXT, 1], good], table: [good] }],
  [
    "2.8.19: indirect within a list",
    "indirect",
    {
      ring: [
        [BUFFER, 8, NEXT],
        [TABLE, 16, INDIRECT],
      ],
      table: [good],
      only: "packed",
    },
  ],
  ["an empty table", "indirect-table", { ring: [[TABLE, 0, INDIRECT]] }],
  ["2.7.5.3: a table of an odd length", "indirect-table", { ring: [[TABLE, 24, INDIRECT]], table: [good, good] }],
  ["a table that leaves RAM", "indirect-table", { ring: [[BASE + RAM - 16, 32, INDIRECT]] }],
  [
    "a table that loops",
    "descriptor-loop",
    {
      ring: [[TABLE, 32, INDIRECT]],
      table: [
        [BUFFER, 8, NEXT, 1],
        [BUFFER, 8, NEXT, 0],
      ],
      only: "split",
    },
  ],
  ["a table that is too long", "descriptor-loop", { ring: [[BASE, 1025 * 16, INDIRECT]], only: "packed" }],
  [
    "a descriptor beyond a table",
    "index-range",
    { ring: [[TABLE, 16, INDIRECT]], table: [[BUFFER, 8, NEXT, 1]], only: "split" },
  ],
];

function write(memory: GuestMemory, base: number, packed: boolean, descs: readonly Desc[], avail: number): void {
  for (const [i, [gpa, length, flags, next = 0]] of descs.entries()) {
    memory.writeU64(base + i * 16, BigInt(gpa));
    memory.writeU32(base + i * 16 + 8, length);
    memory.writeU32(base + i * 16 + 12, packed ? (flags | avail) << 16 : flags | (next << 16));
  }
}

describe.each([false, true])("what breaks a queue, packed: %s", (packed) => {
  const cases = broken.filter(([, , { only }]) => only === undefined || (only === "packed") === packed);

  it.each(cases)("%s: %s", (_name, reason, { ring, table = [], indirect = true }) => {
    using guest = ram();
    const { memory } = guest;
    const layout = areas(BASE, 8);
    const queue = createQueue({ index: 5, memory, features: bits(features({ packed, indirect })) });
    queue.configure(layout);
    write(memory, BASE, packed, ring, 0x80);
    write(memory, TABLE, packed, table, 0);
    if (!packed) memory.writeU16(layout.driver + 2n, 1);
    const details = expect.objectContaining({ queue: 5, reason, index: expect.any(Number) });
    expect(() => queue.pop()).toThrow(expect.objectContaining({ code: "VIRTQUEUE_BROKEN", details }));
    expect([queue.broken, queue.ready, queue.pop(), queue.hasAvailable()]).toEqual([true, false, null, false]);
    expect([queue.setNotification(true), queue.needsNotification()]).toEqual([false, false]);
    expect(queue.save().broken).toBe(true);
    queue.reset();
    expect([queue.broken, queue.size]).toEqual([false, 0]);
  });

  it("2.7.5.2: more than 2^32 bytes", () => {
    const block = RamBlock.create({ id: "big", size: 2n ** 33n });
    const memory = GuestMemory.create([{ gpa: 0n, block }]);
    const queue = createQueue({ index: 0, memory, features: bits(features({ packed })) });
    const layout = areas(BASE, 4);
    queue.configure(layout);
    const half: Desc = [2 ** 32, 2 ** 31, NEXT | WRITE, 1];
    write(memory, BASE, packed, [half, [2 ** 32, 2 ** 31, NEXT | WRITE, 2], [BUFFER, 1, WRITE]], 0x80);
    if (!packed) memory.writeU16(layout.driver + 2n, 1);
    expect(() => queue.pop()).toThrow("more than 2^32 bytes");
    memory.close();
    block.close();
  });

  it("2.6: rings that are misaligned, not RAM, or of a wrong size", () => {
    using guest = ram();
    const queue = createQueue({ index: 0, memory: guest.memory, maxSize: 256, features: bits(features({ packed })) });
    const layout = areas(BASE, 8);
    for (const bad of [
      { desc: layout.desc + 8n },
      { driver: layout.driver + 1n },
      { device: layout.device + 2n },
      { desc: BigInt(BASE + RAM - 64) },
      { driver: BigInt(BASE + RAM) },
      { device: 2n ** 64n - 4n },
      { desc: 0n },
      { size: 0 },
      { size: 512 },
      { size: 1.5 },
      ...(packed ? [] : [{ size: 7 }]),
    ]) {
      expect(() => queue.configure({ ...layout, ...bad })).toThrow(
        expect.objectContaining({ code: "VIRTQUEUE_BROKEN" }),
      );
      expect([queue.broken, queue.pop()]).toEqual([true, null]);
    }
    queue.configure(layout);
    expect([queue.broken, queue.ready, queue.size]).toEqual([false, true, 8]);
    expect(() => createQueue({ index: 0, memory: guest.memory, maxSize: 0, features: 0n })).toThrow("maxSize");
  });

  it("rings over two blocks, while buffers may be", () => {
    const blocks = ["a", "b"].map((id) => RamBlock.create({ id, size: 0x10000n }));
    const memory = GuestMemory.layout(blocks);
    const queue = createQueue({ index: 0, memory, features: bits(features({ packed })) });
    expect(() => queue.configure(areas(0xffc0, 8))).toThrow("spans two blocks");
    const layout = areas(0x1000, 8);
    queue.configure(layout);
    write(memory, 0x1000, packed, [[0xfffc, 8, WRITE]], 0x80);
    if (!packed) memory.writeU16(layout.driver + 2n, 1);
    const chain = queue.pop();
    expect(chain?.writablePieces()).toHaveLength(2);
    chain?.write(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(memory.readU8(0x1_0003)).toBe(8);
    memory.close();
    for (const block of blocks) block.close();
  });
});
