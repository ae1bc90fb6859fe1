import { describe, expect, test } from "@jest/globals";
import { type DumpFormat, type DumpSize, parseDumpFormat } from "./dump-format.js";
import { dumpMemory } from "./memory-dump.js";

/** What QEMU 7.2 has at the top of its firmware; its own monitor's output for it stands in the tests. */
const firmware = Buffer.from("e98dff6690669066906690669066909090", "hex");
const TOP = 0xffff_fff0n;

function dump(count: number, format: DumpFormat, size: DumpSize, address = TOP): string {
  const read = (at: bigint, length: number) => {
    const from = Number(at - TOP);
    return from >= 0 && from + length <= 16 ? firmware.subarray(from, from + length) : null;
  };
  return dumpMemory({ address, count, format, size, read });
}

describe("dumpMemory", () => {
  test.each<[number, DumpFormat, DumpSize, string]>([
    [4, "x", 4, "00000000fffffff0: 0x66ff8de9 0x66906690 0x66906690 0x90906690\n"],
    [2, "o", 1, "00000000fffffff0: 0351 0215\n"],
    [4, "c", 1, "00000000fffffff0: '\\xe9' '\\x8d' '\\xff' 'f'\n"],
    [2, "c", 4, "00000000fffffff0: '\\xe9' '\\x8d'\n"],
    [2, "u", 8, "00000000fffffff0:  7390519758904331753 10416938708490020496\n"],
    [3, "u", 2, "00000000fffffff0: 36329 26367 26256\n"],
    [3, "d", 2, "00000000fffffff0: -29207 26367 26256\n"],
    [2, "d", 1, "00000000fffffff0: -23 -115\n"],
    [0, "x", 4, ""],
  ])("%d of %s, %d bytes each", (count, format, size, text) => {
    expect(dump(count, format, size)).toBe(text);
  });

  test("begins a line every 8 or 16 bytes, and says where nothing can be read", () => {
    expect(dump(9, "x", 1)).toBe("00000000fffffff0: 0xe9 0x8d 0xff 0x66 0x90 0x66 0x90 0x66\n00000000fffffff8: 0x90\n");
    expect(dump(5, "x", 4)).toBe(`${dump(4, "x", 4)}0000000100000000: Cannot access memory\n`);
  });
});

describe("parseDumpFormat", () => {
  test.each([
    ["", { count: 1 }],
    ["4", { count: 4 }],
    ["4xw", { count: 4, format: "x", size: 4 }],
    ["16bd", { count: 16, format: "d", size: 1 }],
    ["g", { count: 1, size: 8 }],
    ["65536b", { count: 65536, size: 1 }],
  ])("reads /%s", (text, request) => {
    expect(parseDumpFormat(text)).toEqual(request);
  });

  test.each([
    ["4z", "invalid char in format: 'z'"],
    ["2s", "invalid char in format: 's'"],
    ["i", "format 'i' is not supported: there is no disassembler"],
    ["65537b", "at most 65536 bytes can be shown at once"],
    ["99999999999999999999", "at most 65536 bytes can be shown at once"],
  ])("refuses /%s", (text, message) => {
    expect(() => parseDumpFormat(text)).toThrow(expect.objectContaining({ code: "MONITOR_SYNTAX", message }));
  });
});
