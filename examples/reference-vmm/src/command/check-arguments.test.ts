import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { checkArguments } from "./check-arguments.js";
import { any, arrayOf, bool, int, object, oneOf, str } from "./schema.js";

const members = {
  "node-name": { type: str },
  file: { type: object({ driver: { type: oneOf("file", "host_device") }, offset: { type: int, optional: true } }) },
  flags: { type: arrayOf(object({ on: { type: bool } })), optional: true },
  extra: { type: any, optional: true },
} as const;

const good = { "node-name": "d0", file: { driver: "file" } };

describe("checkArguments", () => {
  test("takes what is declared, with and without what is optional", () => {
    expect(checkArguments(members, good)).toEqual(good);
    const all = { ...good, file: { driver: "file", offset: -1 }, flags: [{ on: true }], extra: [null] };
    expect(checkArguments(members, all)).toEqual(all);
  });

  test.each([
    [{ ...good, bogus: 1 }, "ARGUMENT_UNEXPECTED", "Parameter 'bogus' is unexpected"],
    [{ ...good, toString: 1 }, "ARGUMENT_UNEXPECTED", "Parameter 'toString' is unexpected"],
    [{ file: good.file }, "ARGUMENT_MISSING", "Parameter 'node-name' is missing"],
    [{ "node-name": "d0" }, "ARGUMENT_MISSING", "Parameter 'file' is missing"],
    [{ ...good, "node-name": 1 }, "ARGUMENT_TYPE", "Invalid parameter type for 'node-name', expected: string"],
    [{ ...good, "node-name": null }, "ARGUMENT_TYPE", "Invalid parameter type for 'node-name', expected: string"],
    [{ ...good, file: "x" }, "ARGUMENT_TYPE", "Invalid parameter type for 'file', expected: object"],
    [{ ...good, file: {} }, "ARGUMENT_MISSING", "Parameter 'file.driver' is missing"],
    [{ ...good, file: { driver: "nbd" } }, "ARGUMENT_VALUE", "Parameter 'file.driver' does not accept value 'nbd'"],
    [{ ...good, file: { driver: 1 } }, "ARGUMENT_TYPE", "Invalid parameter type for 'file.driver', expected: string"],
    [
      { ...good, file: { driver: "file", offset: 1.5 } },
      "ARGUMENT_TYPE",
      "Invalid parameter type for 'file.offset', expected: integer",
    ],
    [
      { ...good, file: { driver: "file", offset: 2n ** 60n } },
      "ARGUMENT_VALUE",
      "Parameter 'file.offset' expects an integer of at most 9007199254740991",
    ],
    [{ ...good, file: { driver: "file", x: 1 } }, "ARGUMENT_UNEXPECTED", "Parameter 'file.x' is unexpected"],
    [{ ...good, flags: {} }, "ARGUMENT_TYPE", "Invalid parameter type for 'flags', expected: array"],
    [
      { ...good, flags: [{ on: true }, { on: 1 }] },
      "ARGUMENT_TYPE",
      "Invalid parameter type for 'flags[1].on', expected: boolean",
    ],
  ])("refuses %j: %s", (given, code, message) => {
    expect(() => checkArguments(members, given)).toThrow(expect.objectContaining({ code, message }));
  });

  test("whatever is given, the result has no members but those declared", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (given) => {
        try {
          expect(Object.keys(members)).toEqual(expect.arrayContaining(Object.keys(checkArguments(members, given))));
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^ARGUMENT_/) });
        }
      }),
    );
  });
});
