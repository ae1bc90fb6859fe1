import { lineError } from "./line-scanner.js";

const U64 = (1n << 64n) - 1n;

/** The value of a register by its name; undefined where there is none of that name. */
export type RegisterReader = (name: string) => bigint | undefined;

/**
 * The value of an expression such as `$rsp + 8*2`, in 64 bits: numbers in decimal, hexadecimal (`0x`) and octal (`0`),
 * characters in quotes, registers, parentheses, `+ - ~` and `+ - * / % & ^ |`. As in QEMU, `& ^ |` bind like `+`.
 * Fails with `MONITOR_SYNTAX`.
 */
export function evaluate(text: string, register: RegisterReader = () => undefined): bigint {
  return new Evaluator(text, register).value();
}

class Evaluator {
  readonly #text: string;
  readonly #register: RegisterReader;
  #at = 0;

  constructor(text: string, register: RegisterReader) {
    this.#text = text;
    this.#register = register;
  }

  value(): bigint {
    const value = this.#sum();
    if (this.#peek() !== "") throw lineError(`invalid char '${this.#peek()}' in expression`);
    return value;
  }

  #peek(): string {
    while (this.#text[this.#at] === " ") this.#at++;
    return this.#text[this.#at] ?? "";
  }

  #take(operators: string): string {
    const char = this.#peek();
    if (char === "" || !operators.includes(char)) return "";
    this.#at++;
    return char;
  }

  #sum(): bigint {
    let value = this.#product();
    for (let operator = this.#take("+-&^|"); operator !== ""; operator = this.#take("+-&^|")) {
      const right = this.#product();
      if (operator === "+") value += right;
      else if (operator === "-") value -= right;
      else if (operator === "&") value &= right;
      else if (operator === "^") value ^= right;
      else value |= right;
      value &= U64;
    }
    return value;
  }

  #product(): bigint {
    let value = this.#unary();
    for (let operator = this.#take("*/%"); operator !== ""; operator = this.#take("*/%")) {
      const right = this.#unary();
      if (operator !== "*" && right === 0n) throw lineError("division by zero");
      if (operator === "*") value *= right;
      else if (operator === "/") value /= right;
      else value %= right;
      value &= U64;
    }
    return value;
  }

  #unary(): bigint {
    const signs: string[] = [];
    for (let sign = this.#take("+-~"); sign !== ""; sign = this.#take("+-~")) signs.push(sign);
    return signs.reduceRight((value, sign) => {
      if (sign === "-") return -value & U64;
      return sign === "~" ? ~value & U64 : value;
    }, this.#primary());
  }

  #primary(): bigint {
    const char = this.#peek();
    if (char === "(") return this.#parenthesis();
    if (char === "$") return this.#registerValue();
    if (char === "'") return this.#character();
    if (char === "") throw lineError("unexpected end of expression");
    return this.#number();
  }

  #parenthesis(): bigint {
    this.#at++;
    const value = this.#sum();
    if (this.#take(")") === "") throw lineError("')' expected");
    return value;
  }

  #registerValue(): bigint {
    const name = /^\$([A-Za-z0-9_]*)/.exec(this.#text.slice(this.#at))?.[1] as string;
    const value = this.#register(name);
    if (value === undefined) throw lineError(`unknown register '$${name}'`);
    this.#at += 1 + name.length;
    return value;
  }

  #character(): bigint {
    const match = /^'([^'])'/.exec(this.#text.slice(this.#at));
    if (match === null) throw lineError("missing terminating ' character");
    this.#at += match[0].length;
    return BigInt((match[1] as string).charCodeAt(0));
  }

  #number(): bigint {
    const word = /^[0-9][0-9A-Za-z]*/.exec(this.#text.slice(this.#at))?.[0];
    if (word === undefined) throw lineError(`invalid char '${this.#peek()}' in expression`);
    const octal = /^0[0-7]+$/.test(word);
    if (!octal && !/^(0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)$/.test(word)) throw lineError(`invalid number '${word}'`);
    const value = BigInt(octal ? `0o${word}` : word);
    if (value > U64) throw lineError("number too large");
    this.#at += word.length;
    return value;
  }
}
