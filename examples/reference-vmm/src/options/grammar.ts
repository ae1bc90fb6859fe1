import { BatonError } from "@baton/linux";

/** Sub-options of one option, as in `unix:/run/q,server,nowait`: a first word that may have no key, and pairs. */
export interface SubOptions {
  /** The first element where it has no `=`. */
  readonly first: string | undefined;
  readonly pairs: ReadonlyMap<string, string>;
}

/** An option that cannot be understood; the message begins with the option. */
export function optionError(option: string, problem: string, hint?: string): BatonError {
  return new BatonError("OPTION_INVALID", `-${option}: ${problem}`, hint === undefined ? {} : { hint });
}

/**
 * Splits at commas; two commas stand for one. A key without a value means `on`; `_` and `-` are the same in keys. With
 * `implicitFirst` the first element may have no key; where it is `"always"`, as for paths, it has none even with a `=`.
 */
export function parseSubOptions(option: string, text: string, implicitFirst: boolean | "always"): SubOptions {
  const parts = text
    .replaceAll(",,", "\0")
    .split(",")
    .map((part) => part.replaceAll("\0", ","));
  const pairs = new Map<string, string>();
  let first: string | undefined;
  parts.forEach((part, i) => {
    const equals = part.indexOf("=");
    if (i === 0 && (implicitFirst === "always" || (implicitFirst && equals < 0))) {
      first = part;
      return;
    }
    if (part === "") throw optionError(option, `an empty element in '${text}'`);
    const key = (equals < 0 ? part : part.slice(0, equals)).replaceAll("_", "-");
    if (pairs.has(key)) throw optionError(option, `'${key}' is given twice in '${text}'`);
    pairs.set(key, equals < 0 ? "on" : part.slice(equals + 1));
  });
  return { first, pairs };
}

/** Refuses keys that the option does not have, naming those that it has. */
export function checkKeys(option: string, options: SubOptions, known: readonly string[]): void {
  for (const key of options.pairs.keys()) {
    if (!known.includes(key)) throw optionError(option, `unknown sub-option '${key}'`, `It takes: ${known.join(", ")}`);
  }
}

const booleans: ReadonlyMap<string, boolean> = new Map([
  ["on", true],
  ["yes", true],
  ["true", true],
  ["off", false],
  ["no", false],
  ["false", false],
]);

/** `on`, `yes`, `true` or `off`, `no`, `false`. */
export function parseBool(option: string, key: string, text: string): boolean {
  const value = booleans.get(text);
  if (value === undefined) throw optionError(option, `${key}=${text} is neither on nor off`);
  return value;
}

/** A whole number within bounds, decimal or hexadecimal. */
export function parseInteger(option: string, key: string, text: string, min: number, max: number): number {
  const value = /^(0x[0-9a-fA-F]+|\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw optionError(option, `${key}=${text} is not a whole number from ${min} to ${max}`);
  }
  return value;
}

const units: Readonly<Record<string, bigint>> = {
  "": 1n << 20n,
  B: 1n,
  K: 1n << 10n,
  M: 1n << 20n,
  G: 1n << 30n,
  T: 1n << 40n,
};

/** A size in bytes: a number with K, M, G or T; MiB without a unit. Fractions are allowed, as in `1.5G`. */
export function parseSize(option: string, key: string, text: string): bigint {
  const match = /^(\d+)(?:\.(\d{1,6}))?([BKMGTbkmgt]?)$/.exec(text);
  const unit = match ? units[(match[3] as string).toUpperCase()] : undefined;
  if (!match || unit === undefined)
    throw optionError(option, `${key}=${text} is not a size`, "Write a number with K, M, G or T, such as 512M");
  const fraction = match[2] ?? "";
  const scale = 10n ** BigInt(fraction.length);
  return ((BigInt(match[1] as string) * scale + BigInt(fraction || "0")) * unit) / scale;
}
