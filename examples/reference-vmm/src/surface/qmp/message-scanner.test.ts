import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { MAX_MESSAGE_BYTES, MAX_NESTING, MessageScanner } from "./message-scanner.js";

const encoder = new TextEncoder();

/** All that a scanner finds in some chunks: texts as they are, errors with `!` before. */
function scan(...chunks: (string | Uint8Array)[]): string[] {
  const scanner = new MessageScanner();
  return chunks.flatMap((chunk) => [...feed(scanner, chunk)]);
}

function* feed(scanner: MessageScanner, chunk: string | Uint8Array): Generator<string> {
  scanner.push(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  for (let found = scanner.next(); found !== undefined; found = scanner.next()) {
    yield found.kind === "text" ? Buffer.from(found.bytes).toString() : `!${found.error.message}`;
  }
}

const stray = (what: string) => `!JSON parse error, stray '${what}'`;

describe("MessageScanner", () => {
  test("finds a message as soon as it is complete, without a line end", () => {
    expect(scan('{"execute":"stop"}')).toEqual(['{"execute":"stop"}']);
    expect(scan('"text"')).toEqual(['"text"']);
    expect(scan("[1,[2]]")).toEqual(["[1,[2]]"]);
  });

  test("finds several messages in one chunk, whatever stands between them", () => {
    expect(scan('{"a":1}{"b":2}\r\n\t [3] 4 "5"')).toEqual(['{"a":1}', '{"b":2}', "[3]", "4", '"5"']);
  });

  test("takes brackets, quotes and escapes within strings for what they are", () => {
    const tricky = `{"a":"}{][","b":"\\"}\\\\","c":'"}\\'' }`;
    expect(scan(tricky + tricky)).toEqual([tricky, tricky]);
  });

  test("a message may come in two pieces, cut anywhere", () => {
    const text = encoder.encode(`{"a":"}\\"\u00e9", 'b':[1,{}]} true {"c":-1.5e3}`);
    const whole = scan(text);
    for (let cut = 0; cut <= text.length; cut++) {
      expect(scan(text.subarray(0, cut), text.subarray(cut))).toEqual(whole);
    }
  });

  test("messages may come in pieces of any size", () => {
    const message = fc
      .jsonValue()
      .filter((value) => typeof value === "object" && value !== null)
      .map((value) => JSON.stringify(value));
    fc.assert(
      fc.property(fc.array(message), fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (messages, sizes) => {
        const bytes = encoder.encode(messages.join(""));
        const chunks: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length] as number;
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(scan(...chunks)).toEqual(messages);
      }),
    );
  });

  test("answers junk with one error, and goes on with the next object or line", () => {
    expect(scan('@@ what? ;; {"a":1}')).toEqual([stray("@"), '{"a":1}']);
    expect(scan('@ "x"\n{"a":1}')).toEqual([stray("@"), '{"a":1}']);
    expect(scan('}, ]\n{"a":1}')).toEqual(["!JSON parse error, expecting value", '{"a":1}']);
  });

  test("answers junk within an object at once, and skips the rest of the object", () => {
    expect(scan('{"a": @', ' "b": {"execute":"quit"} "}" }', '{"c":1}')).toEqual([stray("@"), '{"c":1}']);
  });

  test("a message that lacks its end does not swallow those that follow its line", () => {
    expect(scan('{"a":1\n{"b":2}\n{"c":3}')).toEqual(["!JSON parse error, expected separator", '{"c":3}']);
    expect(scan('{{{\n{"c":3}')).toEqual(["!JSON parse error, key is not a string in object", '{"c":3}']);
    expect(scan('[[{}][]]\n{"c":3}')).toEqual(["!JSON parse error, expected separator", '{"c":3}']);
  });

  test.each([
    ["a line end", "\n"],
    ["a control character", "\x1b"],
  ])("after junk, %s leads out of an object that never ends", (_name, reset) => {
    expect(scan(`{"a": @ [[[${reset}`, '{"b":1}')).toEqual([stray("@"), '{"b":1}']);
  });

  test("a control character or a byte 0xff resets, in strings too", () => {
    const object = encoder.encode('{"a":1}');
    const begun = encoder.encode('{"a": ["b');
    expect(scan(begun, Uint8Array.of(0xff), object)).toEqual([stray("\\xff"), '{"a":1}']);
    expect(scan(begun, "\n", object)).toEqual([stray("\\x0a"), '{"a":1}']);
    expect(scan('{"a": [', "\0", object)).toEqual([stray("\\x00"), '{"a":1}']);
    expect(scan(Uint8Array.of(0xff), object)).toEqual([stray("\\xff"), '{"a":1}']);
  });

  test("line ends within an object are mere spaces", () => {
    expect(scan('{\n"a"\r\n:\n1\n}')).toEqual(['{\n"a"\r\n:\n1\n}']);
  });

  test("bounds nesting", () => {
    const deepest = "[".repeat(MAX_NESTING) + "]".repeat(MAX_NESTING);
    expect(scan(deepest)).toEqual([deepest]);
    expect(scan(`[${deepest}]{}`)).toEqual(["!JSON nesting depth limit exceeded", "{}"]);
    expect(scan("[".repeat(100_000), "\n{}")).toEqual(["!JSON nesting depth limit exceeded", "{}"]);
  });

  test("bounds the length of a message, and reads on after it", () => {
    const tooLong = `!JSON message size limit of ${MAX_MESSAGE_BYTES} bytes exceeded`;
    const fits = `"${"x".repeat(MAX_MESSAGE_BYTES - 2)}"`;
    expect(scan(fits)).toEqual([fits]);
    expect(scan(`{"a":"x${fits.slice(1)}}`, '{"b":1}')).toEqual([tooLong, '{"b":1}']);
    expect(scan("x".repeat(MAX_MESSAGE_BYTES + 1), '\n{"b":1}')).toEqual([tooLong, '{"b":1}']);
  });

  test("endless strings, words and brackets take no endless memory", () => {
    for (const filler of ['"', "{", "a", "@"]) {
      const scanner = new MessageScanner();
      const chunk = new Uint8Array(1 << 20).fill(0x78);
      const found = [...feed(scanner, filler)];
      const before = process.memoryUsage().arrayBuffers;
      for (let i = 0; i < 16; i++) found.push(...feed(scanner, chunk));
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(24 << 20);
      expect(found).toHaveLength(1);
      expect([...feed(scanner, '\n{"a":1}')].at(-1)).toBe('{"a":1}');
    }
  });

  test("single bytes take no more memory than what they hold", () => {
    const scanner = new MessageScanner();
    const byte = Uint8Array.of(0x20);
    scanner.push(encoder.encode("["));
    const before = process.memoryUsage();
    for (let i = 0; i < 1 << 20; i++) {
      scanner.push(byte);
      scanner.next();
    }
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(24 << 20);
    expect(scanner.backlog).toBe(0);
  });

  test("whatever came before, a line end and an object give the object", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (chunks) => {
        const scanner = new MessageScanner();
        for (const chunk of chunks) for (const _ of feed(scanner, chunk));
        // Two bytes 0xff: an unfinished word ends at the first.
        expect([...feed(scanner, Uint8Array.of(0xff, 0xff)), ...feed(scanner, '{"a":1}')].at(-1)).toBe('{"a":1}');
      }),
      { numRuns: 2000 },
    );
  });

  test("finds no more than one thing a byte, and everything in random JSON-like text", () => {
    const piece = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      '"',
      "'",
      "\\",
      ":",
      ",",
      "a",
      "1",
      " ",
      "\n",
      "@",
      "\xff",
      "true",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const bytes = Buffer.from(pieces.join(""), "latin1");
        const whole = scan(bytes);
        expect(whole.length).toBeLessThanOrEqual(bytes.length);
        expect(scan(...[...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
      }),
      { numRuns: 2000 },
    );
  });
});
