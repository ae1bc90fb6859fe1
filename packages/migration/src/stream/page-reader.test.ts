import { describe, expect, it } from "@jest/globals";
import { RAM_FLAG, STREAM_PAGE_SIZE } from "./format.js";
import { type PageTarget, readPageRecords } from "./page-reader.js";
import { StreamInput } from "./stream-input.js";

/** More than the low half of an address. */
const BASE = 2 ** 32 - 2 * STREAM_PAGE_SIZE;
const PAGES = 8;

/** Writes down in what order it is told of what, in pages from `BASE` on. */
class Recorder implements PageTarget {
  readonly told: string[] = [];
  select(): number {
    return BASE + PAGES * STREAM_PAGE_SIZE;
  }
  expect(offset: number, length: number): void {
    this.told.push(`expect ${(offset - BASE) / STREAM_PAGE_SIZE} + ${length / STREAM_PAGE_SIZE}`);
  }
  page(offset: number): void {
    this.told.push(`page ${(offset - BASE) / STREAM_PAGE_SIZE}`);
  }
  zero(offset: number): void {
    this.told.push(`zero ${(offset - BASE) / STREAM_PAGE_SIZE}`);
  }
}

function record(page: number, flag: number): Buffer {
  const bytes = Buffer.alloc(flag === RAM_FLAG.page ? 8 + STREAM_PAGE_SIZE : 9);
  const offset = BASE + page * STREAM_PAGE_SIZE;
  bytes.writeBigUInt64BE(BigInt(offset) | BigInt(flag | RAM_FLAG.continue));
  return bytes;
}

const page = (number: number) => record(number, RAM_FLAG.page);

/** What the target was told when these came, a portion at a time. */
function told(...portions: readonly (readonly Buffer[])[]): string[] {
  const target = new Recorder();
  const input = new StreamInput(PAGES * STREAM_PAGE_SIZE);
  const records = readPageRecords(input, target, "ram");
  records.next();
  for (const portion of portions) {
    input.append(Buffer.concat(portion));
    records.next();
  }
  return target.told;
}

describe("pages that follow each other", () => {
  it("are told of once, before the first, as far as they are there", () => {
    const all = ["expect 0 + 4", "page 0", "page 1", "page 2", "page 3"];
    expect(told([page(0), page(1), page(2), page(3)])).toEqual(all);
    expect(told([page(0), page(1)], [page(2), page(3)])).toEqual([
      ...["expect 0 + 2", "page 0", "page 1"],
      ...["expect 2 + 2", "page 2", "page 3"],
    ]);
    // The last one lacks its end.
    expect(told([page(0), page(1), page(2).subarray(0, -1)])).toEqual(["expect 0 + 2", "page 0", "page 1"]);
  });

  it("end at a gap, at a zero page and where the block does", () => {
    expect(told([page(0), page(2), page(1)])).toEqual([
      ...["expect 0 + 1", "page 0", "expect 2 + 1", "page 2"],
      ...["expect 1 + 1", "page 1"],
    ]);
    expect(told([page(0), record(1, RAM_FLAG.zero), page(2)])).toEqual([
      ...["expect 0 + 1", "page 0", "zero 1"],
      ...["expect 2 + 1", "page 2"],
    ]);
    expect(() => told([page(PAGES - 1), page(PAGES)])).toThrow("which has");
  });
});
