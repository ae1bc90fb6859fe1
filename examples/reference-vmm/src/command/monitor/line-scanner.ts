import { BatonError } from "@baton/linux";

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\", "'": "'", '"': '"' };

/** A line that cannot be understood: `MONITOR_SYNTAX`. */
export function lineError(message: string): BatonError {
  return new BatonError("MONITOR_SYNTAX", message);
}

/** Reads a line of the monitor from left to right. */
export class LineScanner {
  readonly #line: string;
  #at = 0;

  constructor(line: string) {
    this.#line = line;
  }

  /** Whether only spaces are left. */
  get atEnd(): boolean {
    this.#skipSpaces();
    return this.#at === this.#line.length;
  }

  /** The next word, without its quotes; undefined at the end. */
  word(): string | undefined {
    if (this.atEnd) return undefined;
    if (this.#line[this.#at] === '"') return this.#quoted();
    const word = /^\S+/.exec(this.#line.slice(this.#at))?.[0] as string;
    this.#at += word.length;
    return word;
  }

  /** The word that comes next, if it begins with `prefix`: what follows the prefix. */
  prefixed(prefix: string): string | undefined {
    if (this.atEnd || !this.#line.startsWith(prefix, this.#at)) return undefined;
    return this.word()?.slice(prefix.length);
  }

  /** All that is left, without spaces around it; undefined where that is nothing. */
  rest(): string | undefined {
    if (this.atEnd) return undefined;
    const rest = this.#line.slice(this.#at).trimEnd();
    this.#at = this.#line.length;
    return rest;
  }

  #skipSpaces(): void {
    while (/\s/.test(this.#line[this.#at] ?? "")) this.#at++;
  }

  #quoted(): string {
    let word = "";
    for (this.#at++; ; this.#at++) {
      const char = this.#line[this.#at];
      if (char === undefined) throw lineError("unterminated string");
      if (char === '"') break;
      if (char !== "\\") word += char;
      else {
        const escaped = this.#line[++this.#at] ?? "";
        if (!Object.hasOwn(escapes, escaped)) throw lineError(`unsupported escape code: '\\${escaped}'`);
        word += escapes[escaped];
      }
    }
    this.#at++;
    return word;
  }
}
