import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { checkKeys, parseBool, parseInteger, parseSize, parseSubOptions } from "./grammar.js";

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) });
const pairs = (text: string, first: boolean | "always" = true) => {
  const parsed = parseSubOptions("opt", text, first);
  return { first: parsed.first, ...Object.fromEntries(parsed.pairs) };
};

describe("sub-options", () => {
  it.each([
    ["microvm", true, { first: "microvm" }],
    ["unix:/a,server,nowait", true, { first: "unix:/a", server: "on", nowait: "on" }],
    ["type=microvm,mem_share=on", true, { first: undefined, type: "microvm", "mem-share": "on" }],
    ["a,,b,k=c,,d", true, { first: "a,b", k: "c,d" }],
    ["/a=b,k=c=d", "always", { first: "/a=b", k: "c=d" }],
    ["a=1,b", false, { first: undefined, a: "1", b: "on" }],
    ["", true, { first: "" }],
  ] as const)("reads %j", (text, first, expected) => {
    expect(pairs(text, first)).toEqual(expected);
  });

  it.each([
    ["a,", /empty element/],
    ["a,,,", /empty element/],
    ["a,k=1,k=2", /'k' is given twice/],
    ["a,x_y=1,x-y=2", /'x-y' is given twice/],
  ])("refuses %j", (text, message) => {
    expect(() => pairs(text)).toThrow(invalid(message));
  });

  it("gives back what was put together, commas doubled", () => {
    const key = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
    const value = fc.string().filter((text) => !text.includes("\0"));
    fc.assert(
      fc.property(value, fc.dictionary(key, value, { noNullPrototype: true }), (first, given) => {
        const doubled = (text: string) => text.replaceAll(",", ",,");
        // A comma at an end cannot be told from a separator that follows.
        fc.pre([first, ...Object.values(given)].every((text) => !/^,|,$/.test(text)));
        const text = [doubled(first), ...Object.entries(given).map(([k, v]) => `${k}=${doubled(v)}`)].join(",");
        const parsed = parseSubOptions("opt", text, "always");
        expect(parsed.first).toBe(first);
        expect(new Map(parsed.pairs)).toEqual(new Map(Object.entries(given)));
      }),
    );
  });

  it("names the keys that there are", () => {
    expect(() => checkKeys("opt", parseSubOptions("opt", "a,b=1", true), ["c", "d"])).toThrow(
      invalid(/unknown sub-option 'b'; It takes: c, d/),
    );
  });
});

describe("values", () => {
  it.each([
    ["512", 512n << 20n],
    ["0", 0n],
    ["4k", 4096n],
    ["1.5G", 3n << 29n],
    ["0.25m", 1n << 18n],
    ["7B", 7n],
    ["2T", 2n << 40n],
    ["99999999999999999999G", 99999999999999999999n << 30n],
  ])("reads the size %s", (text, bytes) => {
    expect(parseSize("opt", "size", text)).toBe(bytes);
  });

  it.each(["", "-1", "1X", "1 G", "0x10", "1e3", "G", ".5G", "1.G", "1.1234567G", "１"])(
    "refuses the size %j",
    (text) => {
      expect(() => parseSize("opt", "size", text)).toThrow(invalid(/is not a size/));
    },
  );

  it("knows on and off in three words each, and nothing else", () => {
    for (const text of ["on", "yes", "true"]) expect(parseBool("opt", "k", text)).toBe(true);
    for (const text of ["off", "no", "false"]) expect(parseBool("opt", "k", text)).toBe(false);
    for (const text of ["", "ON", "1", "constructor", "__proto__", "toString"]) {
      expect(() => parseBool("opt", "k", text)).toThrow(invalid(/neither on nor off/));
    }
  });

  it("reads whole numbers within bounds", () => {
    expect([parseInteger("opt", "k", "0x1F", 0, 31), parseInteger("opt", "k", "7", 7, 7)]).toEqual([31, 7]);
    for (const text of ["", "-1", "1.5", "0x", "32", "1e1", "99999999999999999999", " 1"]) {
      expect(() => parseInteger("opt", "k", text, 0, 31)).toThrow(invalid(/whole number from 0 to 31/));
    }
  });

  it("never fails but with an option's error", () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom(true, false, "always" as const), (text, first) => {
        for (const parse of [
          () => parseSubOptions("opt", text, first),
          () => parseSize("opt", "k", text),
          () => parseBool("opt", "k", text),
          () => parseInteger("opt", "k", text, 0, 9),
        ]) {
          try {
            parse();
          } catch (error) {
            expect(error).toMatchObject({ code: "OPTION_INVALID" });
          }
        }
      }),
    );
  });
});
