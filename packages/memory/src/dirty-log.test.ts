import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { message, startWorker } from "../test/worker.js";
import { DirtyBitmap, type DirtyRange } from "./dirty-bitmap.js";
import { DirtyLog } from "./dirty-log.js";

const PAGE = 4096;
const pagesOf = (ranges: readonly DirtyRange[]) =>
  ranges.flatMap(({ offset, length }) => Array.from({ length: length / PAGE }, (_, i) => offset / PAGE + i));

describe("DirtyBitmap", () => {
  it("agrees with a set of pages, in merged ascending runs (property)", () => {
    const pages = 200;
    const mark = fc.record({ offset: fc.nat(pages * PAGE - 1), length: fc.nat(40 * PAGE) });
    fc.assert(
      fc.property(fc.array(mark, { maxLength: 20 }), (marks) => {
        const bitmap = new DirtyBitmap(pages * PAGE);
        const model = new Set<number>();
        for (const { offset, length: wanted } of marks) {
          const length = Math.min(wanted, pages * PAGE - offset);
          bitmap.mark(offset, length);
          for (let p = Math.floor(offset / PAGE); length > 0 && p <= Math.floor((offset + length - 1) / PAGE); p++)
            model.add(p);
        }
        expect(bitmap.count()).toBe(model.size);
        const ranges = bitmap.take();
        expect(pagesOf(ranges)).toEqual([...model].sort((a, b) => a - b));
        ranges.forEach((range, i) => {
          const before = ranges[i - 1];
          if (before) expect(before.offset + before.length).toBeLessThan(range.offset);
        });
        expect(bitmap.take()).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("merges KVM's words, at an offset, without the bits beyond the end", () => {
    const log = new DirtyLog(96 * PAGE);
    const reader = log.reader("r");
    log.mergeWords(Uint32Array.of(0x80000001, 0xffffffff, 0xffffffff), 32 * PAGE);
    expect(reader.take()).toEqual([
      { offset: 32 * PAGE, length: PAGE },
      { offset: 63 * PAGE, length: 33 * PAGE },
    ]);
    expect(() => log.mergeWords(new Uint32Array(1), PAGE)).toThrow("multiple of 32");
    const odd = new DirtyBitmap(40 * PAGE);
    odd.mergeWords(Uint32Array.of(0xffffffff, 0xffffffff));
    expect(odd.count()).toBe(40);
  });

  it("refuses marks outside", () => {
    const bitmap = new DirtyBitmap(4 * PAGE);
    for (const [offset, length] of [
      [-1, 1],
      [4 * PAGE, 1],
      [0, 4 * PAGE + 1],
      [Number.NaN, 1],
      [0, -5],
    ] as const) {
      expect(() => bitmap.mark(offset, length)).toThrow(expect.objectContaining({ code: "MEMORY_OUT_OF_BOUNDS" }));
    }
    bitmap.mark(4 * PAGE, 0);
    expect(bitmap.count()).toBe(0);
  });

  it("takes a full bitmap of 64 GiB quickly, as one run", () => {
    const bitmap = new DirtyBitmap(2 ** 36);
    bitmap.markAll();
    expect(bitmap.take()).toEqual([{ offset: 0, length: 2 ** 36 }]);
  });
});

describe("readers", () => {
  it("see every mark once each, from their beginning on", () => {
    const log = new DirtyLog(64 * PAGE);
    log.mark(0, 1);
    const first = log.reader("snapshot");
    log.mark(PAGE, 1);
    const second = log.reader("migration", "all");
    log.mark(2 * PAGE, 1);
    expect(pagesOf(first.take())).toEqual([1, 2]);
    log.mark(3 * PAGE, 1);
    expect(second.count()).toBe(64);
    expect(second.take()).toEqual([{ offset: 0, length: 64 * PAGE }]);
    expect(pagesOf(first.take())).toEqual([3]);
    expect(second.take()).toEqual([]);
    first.putBack([{ offset: 3 * PAGE, length: PAGE }]);
    expect([pagesOf(first.take()), second.count()]).toEqual([[3], 0]);
    log.mark(5 * PAGE, 2 * PAGE);
    const drained: number[][] = [];
    second.drain((offset, length) => drained.push([offset, length]));
    expect(drained).toEqual([[5 * PAGE, 2 * PAGE]]);
    expect(second.count()).toBe(0);
  });

  it("have names that are free again after close", () => {
    const log = new DirtyLog(64 * PAGE);
    const reader = log.reader("r");
    expect(() => log.reader("r")).toThrow(expect.objectContaining({ code: "DIRTY_READER_EXISTS" }));
    reader.close();
    reader.close();
    expect(() => reader.take()).toThrow(expect.objectContaining({ code: "DIRTY_READER_CLOSED" }));
    const again = log.reader("r");
    reader.close();
    expect(log.readers).toEqual(["r"]);
    again.close();
  });
});

it("marks of several threads are harvested exactly once by every reader", async () => {
  const pages = 60_000;
  const threads = 3;
  const log = new DirtyLog(pages * PAGE);
  const readers = [log.reader("a"), log.reader("b")];
  const seen = readers.map(() => new Uint8Array(pages));
  const workers = Array.from({ length: threads }, (_, index) =>
    startWorker(
      `const bitmap = M.DirtyLog.attach(workerData.log);
       const { index, threads, pages } = workerData;
       for (let page = index; page < pages; page += threads) bitmap.mark(page * 4096, 1);
       parentPort.postMessage("done");`,
      { log: log.describe(), index, threads, pages },
    ),
  );
  let running = threads;
  const done = workers.map((worker) => message(worker).then(() => running--));
  const harvest = () =>
    readers.forEach((reader, r) => {
      for (const page of pagesOf(reader.take())) (seen[r] as Uint8Array)[page]!++;
    });
  while (running > 0) {
    harvest();
    await new Promise(setImmediate);
  }
  await Promise.all(done);
  harvest();
  for (const counts of seen) expect(counts.every((n) => n === 1)).toBe(true);
  for (const worker of workers) await worker.terminate();
});
