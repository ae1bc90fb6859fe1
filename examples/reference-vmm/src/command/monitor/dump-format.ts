import { lineError } from "./line-scanner.js";

/** How memory is shown: hexadecimal, decimal with and without sign, octal, characters. */
export type DumpFormat = "x" | "d" | "u" | "o" | "c";

/** Bytes of one value. */
export type DumpSize = 1 | 2 | 4 | 8;

/** A `/FMT` as given: what is left out stays as it was. */
export interface DumpRequest {
  readonly count: number;
  readonly format?: DumpFormat;
  readonly size?: DumpSize;
}

const sizes: Readonly<Record<string, DumpSize>> = { b: 1, h: 2, w: 4, g: 8, L: 8 };

/** The most bytes that one dump shows. */
export const MAX_DUMP_BYTES = 1 << 16;

/**
 * Reads what stands behind the `/` of a dump: a count, a format (`x d u o c`) and a size (`b h w g`), in QEMU's order or
 * any other. Fails with `MONITOR_SYNTAX`.
 */
export function parseDumpFormat(text: string): DumpRequest {
  const digits = /^[0-9]*/.exec(text)?.[0] as string;
  let format: DumpFormat | undefined;
  let size: DumpSize | undefined;
  for (const char of text.slice(digits.length)) {
    if (char === "i") throw lineError("format 'i' is not supported: there is no disassembler");
    if ("xduoc".includes(char)) format = char as DumpFormat;
    else if (Object.hasOwn(sizes, char)) size = sizes[char];
    else throw lineError(`invalid char in format: '${char}'`);
  }
  const count = digits === "" ? 1 : Number(digits);
  if (count * 8 > MAX_DUMP_BYTES && count * (size ?? 8) > MAX_DUMP_BYTES) {
    throw lineError(`at most ${MAX_DUMP_BYTES} bytes can be shown at once`);
  }
  return { count, ...(format && { format }), ...(size && { size }) };
}
