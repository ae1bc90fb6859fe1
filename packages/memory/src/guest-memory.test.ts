import { ftruncate, liveFds, memfdCreate, preadv, pwrite } from "@baton/linux";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { rounds } from "../../../test/rounds.js";
import { message, startWorker } from "../test/worker.js";
import { GuestMemory } from "./guest-memory.js";
import { layoutRam } from "./layout.js";
import { RamBlock } from "./ram-block.js";

const GiB = 2n ** 30n;
const MiB = 2n ** 20n;
const coded = (code: string) => expect.objectContaining({ code });

describe("layout", () => {
  it("leaves out the hole below 4 GiB", () => {
    expect(layoutRam(GiB)).toEqual([{ gpa: 0n, offset: 0n, size: GiB }]);
    expect(layoutRam(3n * GiB)).toHaveLength(1);
    expect(layoutRam(5n * GiB)).toEqual([
      { gpa: 0n, offset: 0n, size: 3n * GiB },
      { gpa: 4n * GiB, offset: 3n * GiB, size: 2n * GiB },
    ]);
    expect(() => layoutRam(GiB, { lowLimit: 5n })).toThrow(coded("INVALID_ARGUMENT"));
  });

  it("splits the block that straddles it", () => {
    const blocks = ["a", "b", "c"].map((id) => RamBlock.create({ id, size: 2n * GiB }));
    const memory = GuestMemory.layout(blocks);
    expect(memory.describe().regions.map(({ blockId, gpa, offset, size }) => [blockId, gpa, offset, size])).toEqual([
      ["a", 0n, 0n, 2n * GiB],
      ["b", 2n * GiB, 0n, GiB],
      ["b", 4n * GiB, GiB, GiB],
      ["c", 5n * GiB, 0n, 2n * GiB],
    ]);
    expect([memory.size, memory.end]).toEqual([6n * GiB, 7n * GiB]);
    expect(memory.find(4n * GiB + 5n)).toMatchObject({ blockId: "b", offset: GiB + 5n });
    expect(memory.find(3n * GiB)).toBeNull();
    memory.close();
    for (const block of blocks) block.close();
  });

  it("refuses overlaps, parts beyond a block, and half pages", () => {
    using block = RamBlock.create({ id: "x", size: MiB });
    const make =
      (...regions: Parameters<typeof GuestMemory.create>[0][number][]) =>
      () =>
        GuestMemory.create(regions);
    expect(make({ gpa: 0n, block }, { gpa: MiB - 4096n, block })).toThrow("memory x at 0xff000 overlaps x at 0x0");
    expect(make({ gpa: 0n, block, offset: 4096n, size: MiB })).toThrow(coded("GUEST_MEMORY_LAYOUT"));
    expect(make({ gpa: 5n, block })).toThrow(coded("GUEST_MEMORY_LAYOUT"));
    expect(make({ gpa: 2n ** 52n, block })).toThrow(coded("GUEST_MEMORY_LAYOUT"));
    expect(make()).toThrow(coded("GUEST_MEMORY_LAYOUT"));
  });
});

describe("16 GiB, sparse", () => {
  let blocks: RamBlock[];
  let memory: GuestMemory;
  /** Every address at which a chunk, a block or a region begins or ends. */
  const edges: bigint[] = [];
  beforeAll(() => {
    blocks = [
      RamBlock.create({ id: "one", size: 10n * GiB + 4096n }),
      RamBlock.create({ id: "two", size: 6n * GiB - 4096n }),
    ];
    memory = GuestMemory.layout(blocks);
    const found = new Set<bigint>();
    for (const { gpa, size } of memory.describe().regions) {
      for (let at = 0n; at < size; at += GiB) found.add(gpa + at);
      found.add(gpa + size);
    }
    edges.push(...found);
  });
  afterAll(() => {
    memory.close();
    for (const block of blocks) block.close();
    expect(liveFds()).toEqual([]);
  });

  it("is read and written at every boundary, also from another thread", async () => {
    expect(memory.size).toBe(16n * GiB);
    for (const [i, edge] of edges.entries()) {
      if (memory.has(edge - 4n, 8)) memory.writeU64(edge - 4n, 0x1122334455667700n + BigInt(i));
      else expect(() => memory.writeU64(edge - 4n, 1n)).toThrow(coded("GUEST_MEMORY_OUT_OF_BOUNDS"));
    }
    const worker = startWorker(
      `const memory = M.GuestMemory.attach(workerData.memory);
       parentPort.postMessage(workerData.edges.map((edge) => memory.has(edge - 4n, 8) ? memory.readU64(edge - 4n) : -1n));`,
      { memory: memory.describe(), edges },
    );
    const expected = edges.map((edge, i) => (memory.has(edge - 4n, 8) ? 0x1122334455667700n + BigInt(i) : -1n));
    expect(expected.filter((value) => value >= 0n).length).toBeGreaterThan(13);
    expect(edges.map((edge) => (memory.has(edge - 4n, 8) ? memory.readU64(edge - 4n) : -1n))).toEqual(expected);
    expect(await message(worker)).toEqual(expected);
    await worker.terminate();
  });

  it("typed access at any boundary agrees with a model (property)", () => {
    for (const edge of edges) {
      for (const part of [edge - 64n, edge]) if (memory.has(part, 64)) memory.fill(part, 64, 0);
    }
    const model = new Map<bigint, number>();
    const inRam = (gpa: bigint, length: number) =>
      memory.describe().regions.reduce((n, r) => {
        const from = gpa > r.gpa ? gpa : r.gpa;
        const to = [gpa + BigInt(length), r.gpa + r.size].reduce((a, b) => (a < b ? a : b));
        return n + (to > from ? Number(to - from) : 0);
      }, 0) === length;
    const expected = (gpa: bigint, length: number) => Array.from({ length }, (_, i) => model.get(gpa + BigInt(i)) ?? 0);
    const little = (bytes: number[]) => bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
    const operation = fc.record({
      edge: fc.constantFrom(...edges),
      shift: fc.integer({ min: -20, max: 20 }),
      width: fc.constantFrom(1, 2, 4, 8, 13, 0),
      value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      write: fc.boolean(),
      asNumber: fc.boolean(),
    });
    const run = ({
      edge,
      shift,
      width,
      value,
      write,
      asNumber,
    }: typeof operation extends fc.Arbitrary<infer T> ? T : never) => {
      const at = edge + BigInt(shift);
      const gpa = asNumber ? Number(at) : at;
      const bytes = Uint8Array.from({ length: width }, (_, i) => Number((value >> BigInt((i % 8) * 8)) & 255n));
      const access = () => {
        if (write) {
          if (width === 1) memory.writeU8(gpa, bytes[0] as number);
          else if (width === 2) memory.writeU16(gpa, Number(value & 0xffffn));
          else if (width === 4) memory.writeU32(gpa, Number(value & 0xffff_ffffn));
          else if (width === 8) memory.writeU64(gpa, value);
          else memory.write(gpa, bytes);
          return null;
        }
        if (width === 1) return BigInt(memory.readU8(gpa));
        if (width === 2) return BigInt(memory.readU16(gpa));
        if (width === 4) return BigInt(memory.readU32(gpa));
        if (width === 8) return memory.readU64(gpa);
        return little([...memory.read(gpa, width)]);
      };
      if (width === 0) return;
      if (!inRam(at, width)) {
        expect(access).toThrow(
          expect.objectContaining({ code: "GUEST_MEMORY_OUT_OF_BOUNDS", details: { gpa: at, length: BigInt(width) } }),
        );
        return;
      }
      const result = access();
      if (write) for (const [i, byte] of bytes.entries()) model.set(at + BigInt(i), byte);
      else expect(result).toBe(little(expected(at, width)));
      expect(memory.slices(gpa, width).flatMap((slice) => [...slice])).toEqual(expected(at, width));
      expect(memory.compare(gpa, Uint8Array.from(expected(at, width)))).toBe(0);
      const gathered = new Uint8Array(width);
      const pieces = memory.pieces(gpa, width);
      expect(pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(width);
      expect(memory.read(gpa, gathered)).toBe(gathered);
      expect([...gathered]).toEqual(expected(at, width));
    };
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 30 }), (operations) => {
        for (const one of operations) run(one);
      }),
      { numRuns: rounds({ quick: 150, full: 150 }) },
    );
  });

  it("hands out aligned views, also across a chunk boundary", () => {
    memory.fill(GiB - 8n, 16, 0);
    const words = memory.u32(GiB - 8n, 4);
    words[3] = 0xdeadbeef;
    expect(memory.readU32(GiB + 4n)).toBe(0xdeadbeef);
    expect(Atomics.add(memory.i32(GiB + 4n, 1), 0, 1)).toBe(0xdeadbeef | 0);
    expect(memory.u16(GiB + 4n, 2)[0]).toBe(0xbef0);
    expect(memory.u64(GiB, 1)[0]).toBe(0xdeadbef0_00000000n);
    expect(() => memory.u16(1n, 1)).toThrow(coded("GUEST_MEMORY_MISALIGNED"));
    expect(() => memory.u32(memory.end - 4n, 2)).toThrow(coded("GUEST_MEMORY_OUT_OF_BOUNDS"));
    expect(memory.hvaOf(GiB - 8n, 16)).toBe((blocks[0] as RamBlock).hva + GiB - 8n);
    const seam = memory.describe().regions.find((region) => region.blockId === "two")?.gpa as bigint;
    expect(() => memory.hvaOf(seam - 1n, 2)).toThrow(coded("GUEST_MEMORY_NOT_CONTIGUOUS"));
  });
});

describe("access", () => {
  let block: RamBlock;
  let memory: GuestMemory;
  beforeAll(() => {
    block = RamBlock.create({ id: "m", size: MiB });
    memory = GuestMemory.create([{ gpa: 0x1000n, block }]);
  });
  afterAll(() => {
    memory.close();
    block.close();
  });

  it("refuses every address that is not RAM", () => {
    const wrong = [
      0n,
      0xfffn,
      MiB + 0x1000n,
      MiB + 0xfffn,
      -1n,
      2n ** 53n + 1n,
      2n ** 64n - 1n,
      2n ** 64n,
      2n ** 70n,
      -5,
    ];
    for (const gpa of wrong) {
      for (const access of [
        () => memory.readU16(gpa),
        () => memory.writeU32(gpa, 1),
        () => memory.read(gpa, 2),
        () => memory.hvaOf(gpa, 2),
        () => memory.slices(gpa, 2),
        () => memory.markDirty(gpa, 2),
      ]) {
        expect(access).toThrow(coded("GUEST_MEMORY_OUT_OF_BOUNDS"));
      }
    }
    expect(() => memory.readU8(1.5)).toThrow();
    expect(() => memory.readU8(Number.NaN)).toThrow();
    expect(() => memory.readU32(4097.5)).toThrow();
    expect(() => memory.read(0x1000n, -1)).toThrow(coded("INVALID_ARGUMENT"));
    expect(() => memory.readU64(MiB + 0x1000n - 4n)).toThrow(
      `8 bytes at guest address 0x${(MiB + 0x1000n - 4n).toString(16)} are not RAM throughout`,
    );
  });

  it("writes nothing of a range that is not RAM throughout", () => {
    memory.fill(MiB, 0x1000, 0);
    expect(() => memory.write(MiB, new Uint8Array(0x1001).fill(1))).toThrow(coded("GUEST_MEMORY_OUT_OF_BOUNDS"));
    expect(memory.compare(MiB, new Uint8Array(0x1000))).toBe(0);
    expect(memory.compare(MiB, Uint8Array.of(1))).toBe(-1);
  });

  it("gathers by address for system calls", () => {
    using file = memfdCreate("disk");
    pwrite(file, Uint8Array.of(1, 2, 3, 4), 0);
    expect(preadv(file, memory.pieces(0x2000n, 4), 0)).toBe(4);
    expect(memory.readU32(0x2000n)).toBe(0x04030201);
  });

  it("writes mark the dirty log of the block", () => {
    const reader = block.dirty.reader("test");
    memory.writeU8(0x1000n, 1);
    memory.writeU32(0x5ffen, 1);
    memory.write(0x8000n, new Uint8Array(8192));
    memory.markDirty(0x20000n, 1);
    expect(reader.take()).toEqual([
      { offset: 0, length: 4096 },
      { offset: 0x4000, length: 8192 },
      { offset: 0x7000, length: 8192 },
      { offset: 0x1f000, length: 4096 },
    ]);
    reader.close();
  });
});

describe("rebase", () => {
  afterEach(() => expect(liveFds()).toEqual([]));

  it("moves every thread's views to the new mapping", async () => {
    using block = RamBlock.create({ id: "m", size: MiB });
    const memory = GuestMemory.create([{ gpa: 0n, block, offset: 4096n }]);
    memory.writeU32(0n, 1);
    const worker = startWorker(
      `const memory = M.GuestMemory.attach(workerData);
       parentPort.postMessage([memory.readU32(0n), memory.stale]);
       parentPort.on("message", (descriptor) => {
         const { stale } = memory;
         memory.refresh(descriptor);
         const value = memory.readU32(0n);
         memory.writeU32(0n, 3);
         parentPort.postMessage([value, stale, memory.stale]);
       });`,
      memory.describe(),
    );
    expect(await message(worker)).toEqual([1, false]);
    const before = memory.describe().regions[0]?.hva as bigint;
    const fd = memfdCreate("next");
    ftruncate(fd, MiB);
    pwrite(fd, Uint8Array.of(2), 4096);
    block.rebase({ fd });
    expect(memory.readU32(0n)).toBe(2);
    expect(memory.stale).toBe(false);
    const [region] = memory.describe().regions;
    expect(region).toMatchObject({ generation: 1, hva: block.hva + 4096n });
    expect(region?.hva).not.toBe(before);
    worker.postMessage(memory.describe());
    expect(await message(worker)).toEqual([2, true, false]);
    expect(memory.readU32(0n)).toBe(3);
    await worker.terminate();
    memory.close();
    memory.close();
  });
});
