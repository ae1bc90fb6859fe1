import { fstat, liveFds } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { dataRanges, nonZeroRanges } from "./pages.js";
import { RamBlock } from "./ram-block.js";

const MiB = 2 ** 20;
afterEach(() => expect(liveFds()).toEqual([]));
const poke = (block: RamBlock, offset: number, value = 1) => {
  new Uint8Array(block.view(offset, 1))[0] = value;
};

describe("dataRanges", () => {
  it("skips what was never touched, in 16 GiB", () => {
    using block = RamBlock.create({ id: "m", size: 2n ** 34n });
    expect([...dataRanges(block)]).toEqual([]);
    for (const offset of [0, 4096, 2 ** 33 + 4096, 2 ** 34 - 1]) poke(block, offset);
    expect([...dataRanges(block)]).toEqual([
      { offset: 0, length: 8192 },
      { offset: 2 ** 33 + 4096, length: 4096 },
      { offset: 2 ** 34 - 4096, length: 4096 },
    ]);
    expect([...dataRanges(block, { offset: 4096, length: 2 ** 33 })]).toEqual([{ offset: 4096, length: 4096 }]);
    expect(fstat(block.fd).blocks).toBe(4n * 8n);
  });

  it("takes a private block as one part", () => {
    using block = RamBlock.create({ id: "m", size: BigInt(MiB), backend: { kind: "memfd", share: false } });
    expect([...dataRanges(block)]).toEqual([{ offset: 0, length: MiB }]);
    poke(block, 4096);
    expect([...nonZeroRanges(block)]).toEqual([{ offset: 4096, length: 4096 }]);
  });

  it("refuses ranges outside or of half pages", () => {
    using block = RamBlock.create({ id: "m", size: BigInt(MiB) });
    for (const range of [{ offset: 1 }, { offset: 0, length: 5 }, { offset: MiB, length: 4096 }, { offset: -4096 }]) {
      expect(() => [...dataRanges(block, range)]).toThrow(expect.objectContaining({ code: "MEMORY_OUT_OF_BOUNDS" }));
    }
  });
});

describe("nonZeroRanges", () => {
  it("agrees with a scan of every page (property)", () => {
    const pages = 80;
    const write = fc.record({
      page: fc.nat(pages - 1),
      at: fc.constantFrom(0, 1, 4095, 2000),
      value: fc.constantFrom(0, 1, 255),
    });
    const size = fc.constantFrom(4096, 8192, 65536, 131072);
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), size, (writes, granularity) => {
        using block = RamBlock.create({ id: "m", size: BigInt(pages * 4096) });
        const bytes = new Uint8Array(block.view(0, pages * 4096));
        for (const { page, at, value } of writes) bytes[page * 4096 + at] = value;
        const covered = new Set<number>();
        let last = -1;
        for (const { offset, length } of nonZeroRanges(block, { granularity })) {
          expect(offset).toBeGreaterThan(last);
          last = offset + length;
          for (let at = offset; at < last; at += 4096) covered.add(at / 4096);
        }
        for (let page = 0; page < pages; page++) {
          const nonZero = bytes.subarray(page * 4096, page * 4096 + 4096).some((byte) => byte !== 0);
          if (nonZero) expect(covered).toContain(page);
          else if (granularity === 4096) expect(covered).not.toContain(page);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("merges over strides and finds the last byte of a page", () => {
    using block = RamBlock.create({ id: "m", size: BigInt(4 * MiB), prealloc: true });
    expect([...nonZeroRanges(block)]).toEqual([]);
    const all = new Uint8Array(block.view(0, 4 * MiB));
    all.fill(1, 4096, 3 * MiB);
    all[4 * MiB - 1] = 1;
    expect([...nonZeroRanges(block)]).toEqual([
      { offset: 4096, length: 3 * MiB - 4096 },
      { offset: 4 * MiB - 4096, length: 4096 },
    ]);
    expect(() => [...nonZeroRanges(block, { granularity: 5000 })]).toThrow("granularity");
  });
});
