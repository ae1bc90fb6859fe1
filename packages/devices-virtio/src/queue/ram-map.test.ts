import { IoVector } from "@baton/linux";
import { GuestMemory, RamBlock } from "@baton/memory";
import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { RamMap } from "./ram-map.js";

describe("RamMap", () => {
  const SIZE = 0x4000;
  let blocks: RamBlock[];
  let memory: GuestMemory;
  let map: RamMap;
  // Two that touch, and one apart.
  beforeEach(() => {
    blocks = ["a", "b", "c"].map((id) => RamBlock.create({ id, size: BigInt(SIZE) * 2n }));
    const [a, b, c] = blocks as [RamBlock, RamBlock, RamBlock];
    const size = BigInt(SIZE);
    memory = GuestMemory.create([
      { gpa: 0x4_0000_0000n, block: c, size },
      { gpa: 0x1_0000n, block: a, size },
      { gpa: 0x1_4000n, block: b, offset: size, size },
    ]);
    map = new RamMap(memory);
  });
  afterEach(() => {
    memory.close();
    for (const block of blocks) block.close();
  });

  it("says what is RAM throughout, as the memory does", () => {
    for (const gpa of [0, 0xffff, 0x1_0000, 0x1_3fff, 0x1_4000, 0x1_7fff, 0x1_8000, 0x4_0000_0000, 0x4_0000_3fff]) {
      for (const length of [1, 2, SIZE, SIZE + 1, 2 * SIZE, 2 * SIZE + 1]) {
        expect([gpa, length, map.has(gpa, length)]).toEqual([gpa, length, memory.has(gpa, length)]);
      }
    }
  });

  it("marks each block's pages", () => {
    const readers = blocks.map((block) => block.dirty.reader("test"));
    map.mark(0x1_3fff, 2);
    map.mark(0x4_0000_1000, 0x1001);
    map.mark(0x1_0000, 0);
    expect(readers.map((reader) => reader.take())).toEqual([
      [{ offset: 0x3000, length: 0x1000 }],
      [{ offset: 0x4000, length: 0x1000 }],
      [{ offset: 0x1000, length: 0x2000 }],
    ]);
  });

  it("gathers addresses", () => {
    const target = new IoVector(2);
    expect(map.gather(target, 0x1_3ffe, 5)).toBe(5);
    const wanted = memory.pieces(0x1_3ffe, 5).flatMap(({ address, length }) => [address, BigInt(length)]);
    expect([...target.words.subarray(0, target.count * 2)]).toEqual(wanted);
    expect(map.gather(target, 0x4_0000_0000, 5)).toBe(target.count === 2 ? 0 : 5);
  });

  it("views words, or copies those that are misaligned or in two regions", () => {
    for (const gpa of [0x1_0010, 0x1_0013, 0x1_3ff8, 0x1_4000, 0x4_0000_0000]) {
      memory.write(
        gpa,
        Uint8Array.from({ length: 32 }, (_, i) => i + 1),
      );
      const words = map.words(gpa, 8);
      expect([words[map.wordsStart], words[map.wordsStart + 7]]).toEqual([0x0403_0201, 0x201f_1e1d]);
    }
    expect(map.words(0x1_0001, 8, 2)).toHaveLength(2);
  });

  it("forgets, and refuses what is not RAM any more", () => {
    const attached = GuestMemory.attach(memory.describe());
    const other = new RamMap(attached);
    expect(other.has(0x1_0000, 1)).toBe(true);
    const less = GuestMemory.create([{ gpa: 0n, block: blocks[0]! }]);
    attached.refresh(less.describe());
    other.refresh();
    expect([other.has(0x1_0000, 1), other.has(0, 1)]).toEqual([false, true]);
    const outside = expect.objectContaining({ code: "GUEST_MEMORY_OUT_OF_BOUNDS" });
    expect(() => other.mark(0x1_0000, 1)).toThrow(outside);
    expect(() => other.gather(new IoVector(), 0x1_0000, 1)).toThrow(outside);
    less.close();
  });
});
