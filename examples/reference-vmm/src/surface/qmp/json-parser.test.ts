import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { MAX_VALUES, parseJson } from "./json-parser.js";
import { encodeJson } from "./json-writer.js";

const parse = (text: string) => parseJson(Buffer.from(text));

/** The same value with prototypes as JSON.parse gives them. */
const plain = (value: unknown) => JSON.parse(encodeJson(value));

describe("parseJson", () => {
  test("reads what JSON.parse reads, spaces anywhere", () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(0, 1, 2, "\t"), (text, space) => {
        const spaced = JSON.stringify(JSON.parse(text), null, space);
        expect(plain(parse(spaced))).toEqual(JSON.parse(spaced));
      }),
    );
  });

  test.each([
    ["{'execute': 'stop'}", { execute: "stop" }],
    [`'a "quoted" word'`, 'a "quoted" word'],
    [`"it's"`, "it's"],
    [`'it\\'s'`, "it's"],
    [`"\\"\\\\\\/\\b\\f\\n\\r\\t"`, '"\\/\b\f\n\r\t'],
    ['"\\ud83d\\ude00 \\u00e9"', "\u{1f600} \u00e9"],
    ["[1, -2.5e3, 0]", [1, -2500, 0]],
    ['{"__proto__": 1, "constructor": 2}', JSON.parse('{"__proto__": 1, "constructor": 2}')],
  ])("reads %s", (text, value) => {
    expect(plain(parse(text))).toEqual(value);
  });

  test.each([
    ["9007199254740993", 9007199254740993n],
    ["-9223372036854775808", -9223372036854775808n],
    ["18446744073709551615", 18446744073709551615n],
    ["9007199254740991", 9007199254740991],
    ["18446744073709551616", 18446744073709552000],
    [`1${"0".repeat(40)}`, 1e40],
  ])("reads the integer %s exactly where 64 bits hold it", (text, value) => {
    expect(parse(text)).toBe(value);
  });

  test.each([
    ["{", "key is not a string in object"],
    ["{1:2}", "key is not a string in object"],
    ['{"a" 1}', "missing : in object pair"],
    ['{"a":}', "expecting value"],
    ['{"a":1 "b":2}', "expected separator in dict"],
    ['{"a":1,"a":2}', "duplicate key"],
    ['{"a":1,}', "key is not a string in object"],
    ["[1 2]", "expected separator in list"],
    ["[1,]", "expecting value"],
    ["{]", "key is not a string in object"],
    ["nope", "invalid keyword 'nope'"],
    ["01", "stray '01'"],
    ["1.", "stray '1.'"],
    ["1e999", "number '1e999' is out of range"],
    ["1 2", "stray '2'"],
    ['"\\x"', "invalid escape sequence '\\x' in string"],
    ['"\\u12g4"', "invalid escape sequence '\\u12g4' in string"],
    ['"\\ud800"', "\\ud800 is not a valid Unicode character"],
    ['"a', "premature EOI"],
    ['"a\nb"', "control character in string"],
  ])("refuses %s: %s", (text, message) => {
    expect(() => parse(text)).toThrow(
      expect.objectContaining({ code: "JSON_SYNTAX", message: `JSON parse error, ${message}` }),
    );
  });

  test("refuses bytes that are not UTF-8", () => {
    expect(() => parseJson(Uint8Array.of(0x22, 0xc3, 0x28, 0x22))).toThrow("invalid UTF-8 sequence in string");
  });

  test("bounds the number of values", () => {
    expect(() => parse(`[${"{},".repeat(MAX_VALUES)}{}]`)).toThrow("JSON token count limit exceeded");
  });

  test("any bytes lead to a value or to a BatonError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          parseJson(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "JSON_SYNTAX" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("encodeJson", () => {
  test("gives ASCII that reads back as the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = encodeJson(value);
        expect(text).toMatch(/^[ -~]*$/);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(encodeJson(parse(text))).toBe(text);
      }),
    );
  });

  test("writes bigints as numbers and leaves out what is undefined", () => {
    expect(encodeJson({ a: 2n ** 64n - 1n, b: undefined, c: [undefined, null] })).toBe(
      '{"a":18446744073709551615,"c":[null,null]}',
    );
  });
});
