import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { evaluate } from "./expression.js";

const registers = (name: string) => ({ rip: 0x1000n, rsp: 0xffff_ffff_ffff_fff8n })[name];

describe("expressions", () => {
  test.each([
    ["0", 0n],
    ["0x10", 16n],
    ["010", 8n],
    ["1 + 2*3", 7n],
    ["(1+2)*3", 9n],
    ["10-2-3", 5n],
    ["7/2 % 2", 1n],
    ["0xf0 & 0x3c | 1", 0x31n],
    ["6 ^ 5", 3n],
    ["~0", 0xffff_ffff_ffff_ffffn],
    ["-1 + 1", 0n],
    ["--5", 5n],
    ["'A' + 1", 66n],
    ["$rip+8", 0x1008n],
    ["$rsp + 16", 8n],
    [" 0xfffffffffffffff0 ", 0xffff_ffff_ffff_fff0n],
  ])("%s is %s", (text, value) => {
    expect(evaluate(text, registers)).toBe(value);
  });

  test.each([
    ["", "unexpected end of expression"],
    ["1 +", "unexpected end of expression"],
    ["(1", "')' expected"],
    ["zork", "invalid char 'z' in expression"],
    ["1 2", "invalid char '2' in expression"],
    ["09", "invalid number '09'"],
    ["12ab", "invalid number '12ab'"],
    ["1/0", "division by zero"],
    ["$nope", "unknown register '$nope'"],
    ["'ab'", "missing terminating ' character"],
    ["0x10000000000000000", "number too large"],
  ])("%j is refused: %s", (text, message) => {
    expect(() => evaluate(text, registers)).toThrow(expect.objectContaining({ code: "MONITOR_SYNTAX", message }));
  });

  test("any text is a number of 64 bits or refused", () => {
    const text = fc.string({ unit: fc.constantFrom(..."0123456789xafz+-*/%&^|~()$' "), maxLength: 20 });
    fc.assert(
      fc.property(text, (given) => {
        try {
          const value = evaluate(given);
          expect(value >= 0n && value < 1n << 64n).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ code: "MONITOR_SYNTAX" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});
