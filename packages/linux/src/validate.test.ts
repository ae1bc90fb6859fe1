import { describe, expect, it } from "@jest/globals";
import { aCString, anHva, anInt, aPath, aSize, aU32, aU64, aView } from "./validate.js";

const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
const bad = (f: (value: never) => unknown, ...values: unknown[]) => {
  for (const value of values) {
    let thrown: unknown;
    try {
      f(value as never);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toEqual(refused);
  }
};

describe("checks at the border refuse what koffi would take", () => {
  it("integers", () => {
    expect(anInt(-3, "n")).toBe(-3);
    expect(aU32(0xffffffff, "n")).toBe(0xffffffff);
    bad((v) => aU32(v, "n"), 1.5, -1, 2 ** 32, undefined, "1", null, Number.NaN, 1n);
  });

  it("64-bit integers", () => {
    expect(aU64(2n ** 64n - 1n, "n")).toBe(2n ** 64n - 1n);
    expect(aSize(7, "n")).toBe(7n);
    bad((v) => aU64(v, "n"), -1n, 2n ** 64n, 1.5, "1", undefined, {}, 2 ** 60);
    bad((v) => aSize(v, "n"), 2n ** 63n, -1);
  });

  it("addresses, views and strings", () => {
    expect(anHva(0x1000n, "p")).toBe(0x1000n);
    bad((v) => anHva(v, "p"), 0n, -1n, 4096, "x", undefined, 2n ** 63n);
    bad((v) => aView(v, "b"), "bytes", new ArrayBuffer(8), undefined, 0n);
    bad((v) => aCString(v, "s"), "a\0b", 5, undefined);
    bad((v) => aPath(v), "", undefined);
  });
});
