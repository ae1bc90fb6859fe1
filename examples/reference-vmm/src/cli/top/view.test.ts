import { describe, expect, test } from "@jest/globals";
import type { VmReport } from "../../client/vm-report.js";
import type { TimedReport } from "./figures.js";
import { renderTop } from "./view.js";

/** A VM that has done `n` times what it does in a second. */
function timed(n: number, change: Partial<VmReport> = {}): TimedReport {
  const vcpu = { "guest-time": n * 4e8, "vmm-time": n * 1e8, "io-out-exits": n * 3, "hlt-exits": 0 };
  const statistics = {
    vm: [{ id: "", values: { "resident-size": 3 * 2 ** 20 } }],
    vcpu: [
      { id: "0", values: { ...vcpu, "forwarded-exits": n } },
      { id: "1", values: vcpu },
    ],
    disk: [{ id: "d", values: { "read-bytes": n * 2048, "write-bytes": n * 512 } }],
    network: [{ id: "e", values: { "receive-bytes": n * 100, "transmit-bytes": 0 } }],
  };
  return { at: n * 1000, report: { name: "web", pid: 1, state: "running", since: 0, statistics, ...change } };
}

const silent = { state: "not answering", statistics: { vm: [], vcpu: [], disk: [], network: [] } };
const rowsOf = (text: string) => text.split("\n").map((line) => line.trim().split(/ {2,}/));

describe("the table of top", () => {
  test("has totals where there is nothing to compare with", () => {
    expect(rowsOf(renderTop([timed(10)]))).toEqual([
      ["NAME", "STATE", "GUEST", "VMM", "EXITS", "READ", "WRITTEN", "RECEIVED", "SENT", "RESIDENT", "BALLOON"],
      ["web", "running", "8.00s", "2.00s", "60", "20 KiB", "5 KiB", "1000 B", "0 B", "3 MiB", "-"],
      ["exits: io-out 60"],
      [""],
    ]);
  });

  test("has rates between two samples, however long they are apart", () => {
    for (const [earlier, later] of [
      [1, 2],
      [5, 12.5],
    ] as const) {
      const [head, row, exits] = rowsOf(renderTop([timed(later)], new Map([["web", timed(earlier)]])));
      expect(head?.slice(2, 5)).toEqual(["GUEST%", "VMM%", "EXITS/s"]);
      expect(row?.slice(2)).toEqual(["80.0", "20.0", "6", "2 KiB", "512 B", "100 B", "0 B", "3 MiB", "-"]);
      expect(exits).toEqual(["exits/s: io-out 6"]);
    }
  });

  test.each([
    ["there was none before", timed(2), undefined],
    ["another process had the name", timed(2), timed(1, { pid: 2 })],
    ["it did not answer before", timed(2), timed(1, silent)],
  ])("has no rates where %s", (_, now, before) => {
    const [, row, more] = rowsOf(renderTop([now], new Map(before && [["web", before]])));
    expect(row).toEqual(["web", "running", ...Array(7).fill("-"), "3 MiB", "-"]);
    expect(more).toEqual([""]);
  });

  test("names a VM that does not answer, and is but a head without VMs", () => {
    expect(rowsOf(renderTop([timed(1, silent)]))[1]).toEqual(["web", "not answering", ...Array(9).fill("-")]);
    expect(rowsOf(renderTop([]))).toHaveLength(2);
  });
});
