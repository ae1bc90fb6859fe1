import { BatonError } from "@baton/linux";

/** A value read from JSON. Integers that a double would round are bigints; objects have no prototype. */
export type JsonValue = null | boolean | number | bigint | string | readonly JsonValue[] | JsonObject;

/** A JSON object. */
export interface JsonObject {
  readonly [name: string]: JsonValue;
}

/** How many values one message may hold: what bounds the memory that reading it takes. */
export const MAX_VALUES = 1 << 17;

const MIN_INT64 = -(1n << 63n);
const MAX_UINT64 = (1n << 64n) - 1n;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/**
 * Reads one JSON value, with strings in single quotes as well, as QEMU does. Fails with `JSON_SYNTAX`. The caller bounds
 * length and depth.
 */
export function parseJson(bytes: Uint8Array): JsonValue {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw syntaxError("invalid UTF-8 sequence in string");
  }
  return new Parser(text).document();
}

/** An error of JSON that a client sent: `JSON_SYNTAX`. */
export function syntaxError(what: string): BatonError {
  return new BatonError("JSON_SYNTAX", `JSON parse error, ${what}`);
}

class Parser {
  readonly #text: string;
  #at = 0;
  #values = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): JsonValue {
    const value = this.#value();
    this.#skipSpace();
    if (this.#at < this.#text.length) throw syntaxError(`stray '${shown(this.#text.slice(this.#at))}'`);
    return value;
  }

  #value(): JsonValue {
    this.#skipSpace();
    if (++this.#values > MAX_VALUES) throw new BatonError("JSON_SYNTAX", "JSON token count limit exceeded");
    const char = this.#text[this.#at];
    if (char === "{") return this.#object();
    if (char === "[") return this.#array();
    if (char === '"' || char === "'") return this.#string(char);
    return this.#word();
  }

  #object(): JsonObject {
    const object: Record<string, JsonValue> = Object.create(null);
    this.#at++;
    if (this.#take("}")) return object;
    do {
      this.#skipSpace();
      const quote = this.#text[this.#at];
      if (quote !== '"' && quote !== "'") throw syntaxError("key is not a string in object");
      const key = this.#string(quote);
      if (!this.#take(":")) throw syntaxError("missing : in object pair");
      if (key in object) throw syntaxError("duplicate key");
      object[key] = this.#value();
    } while (this.#take(","));
    if (!this.#take("}")) throw syntaxError("expected separator in dict");
    return object;
  }

  #array(): readonly JsonValue[] {
    const array: JsonValue[] = [];
    this.#at++;
    if (this.#take("]")) return array;
    do array.push(this.#value());
    while (this.#take(","));
    if (!this.#take("]")) throw syntaxError("expected separator in list");
    return array;
  }

  #string(quote: string): string {
    let result = "";
    let from = ++this.#at;
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) throw syntaxError("premature EOI");
      if (char < " ") throw syntaxError("control character in string");
      if (char === quote) break;
      if (char !== "\\") {
        this.#at++;
        continue;
      }
      result += this.#text.slice(from, this.#at) + this.#escape();
      from = this.#at;
    }
    return result + this.#text.slice(from, this.#at++);
  }

  #escape(): string {
    const char = this.#text[this.#at + 1] ?? "";
    this.#at += 2;
    if (char !== "u") {
      const plain = Object.hasOwn(escapes, char) ? escapes[char] : undefined;
      if (plain === undefined) throw syntaxError(`invalid escape sequence '\\${shown(char)}' in string`);
      return plain;
    }
    const unit = this.#codeUnit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit < 0xdc00 && this.#text.startsWith("\\u", this.#at)) {
      this.#at += 2;
      const low = this.#codeUnit();
      if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
    }
    throw syntaxError(`\\u${unit.toString(16)} is not a valid Unicode character`);
  }

  #codeUnit(): number {
    const digits = this.#text.slice(this.#at, this.#at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw syntaxError(`invalid escape sequence '\\u${shown(digits)}' in string`);
    this.#at += 4;
    return Number.parseInt(digits, 16);
  }

  #word(): JsonValue {
    const start = this.#at;
    while (isWordChar(this.#text.charCodeAt(this.#at))) this.#at++;
    const word = this.#text.slice(start, this.#at);
    if (word === "") throw syntaxError("expecting value");
    if (word === "true") return true;
    if (word === "false") return false;
    if (word === "null") return null;
    if (/^[a-z]+$/.test(word)) throw syntaxError(`invalid keyword '${shown(word)}'`);
    return number(word);
  }

  /** Takes `char` if it comes next after spaces. */
  #take(char: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const char = this.#text[this.#at];
      if (char !== " " && char !== "\n" && char !== "\r" && char !== "\t") return;
      this.#at++;
    }
  }
}

/** Whether a character code may be part of a number or of a literal name. */
export function isWordChar(code: number): boolean {
  const isDigit = code >= 0x30 && code <= 0x39;
  const isLower = code >= 0x61 && code <= 0x7a;
  return isDigit || isLower || code === 0x2b || code === 0x2d || code === 0x2e || code === 0x45;
}

/** Integers within 64 bits stay exact; all else is a double, as in QEMU. */
function number(word: string): number | bigint {
  if (!/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(word)) throw syntaxError(`stray '${shown(word)}'`);
  const value = Number(word);
  if (!Number.isFinite(value)) throw syntaxError(`number '${shown(word)}' is out of range`);
  if (Number.isSafeInteger(value) || /[.eE]/.test(word) || word.length > 20) return value;
  const exact = BigInt(word);
  return exact < MIN_INT64 || exact > MAX_UINT64 ? value : exact;
}

/** The beginning of a text, for messages. */
export function shown(text: string): string {
  const start = text.length > 32 ? `${text.slice(0, 32)}...` : text;
  return start.replaceAll(/[^\x20-\x7e]/g, (char) =>
    char > "\xff"
      ? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`
      : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
