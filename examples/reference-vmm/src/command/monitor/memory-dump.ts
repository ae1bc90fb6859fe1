import type { DumpFormat, DumpSize } from "./dump-format.js";

/** What a dump shows. */
export interface DumpOptions {
  readonly address: bigint;
  readonly count: number;
  readonly format: DumpFormat;
  readonly size: DumpSize;
  /** The bytes at an address; null where there is no memory. */
  read(address: bigint, length: number): Uint8Array | null;
}

/** Digits that the widest value of a format takes; QEMU's figures. */
const digits: Readonly<Record<DumpFormat, (size: number) => number>> = {
  x: (size) => size * 2,
  o: (size) => Math.ceil((size * 8) / 3),
  d: (size) => Math.ceil((size * 8 * 10) / 33),
  u: (size) => Math.ceil((size * 8 * 10) / 33),
  c: () => 0,
};

const LAST_ADDRESS = (1n << 64n) - 1n;

/** Memory in QEMU's form, a line for 8 or 16 bytes. Ends at the first line that cannot be read, which says so. */
export function dumpMemory({ address, count, format, size: asked, read }: DumpOptions): string {
  const size = format === "c" ? 1 : asked;
  const lineBytes = size === 1 ? 8 : 16;
  let text = "";
  let at = address;
  for (let left = count * size; left > 0; ) {
    const length = Math.min(left, lineBytes);
    const bytes = read(at, length);
    text += `${at.toString(16).padStart(16, "0")}:`;
    if (bytes === null) return `${text} Cannot access memory\n`;
    for (let i = 0; i < length; i += size) text += ` ${shownValue(bytes.subarray(i, i + size), format)}`;
    text += "\n";
    left -= length;
    at = (at + BigInt(length)) & LAST_ADDRESS;
  }
  return text;
}

function shownValue(bytes: Uint8Array, format: DumpFormat): string {
  if (format === "c") return shownCharacter(bytes[0] as number);
  const unsigned = bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const width = digits[format](bytes.length);
  if (format === "x") return `0x${unsigned.toString(16).padStart(width, "0")}`;
  if (format === "o") return `0${unsigned.toString(8).padStart(width, "0")}`;
  const value = format === "d" ? BigInt.asIntN(bytes.length * 8, unsigned) : unsigned;
  return value.toString().padStart(width);
}

const escapes: Readonly<Record<number, string>> = { 9: "\\t", 10: "\\n", 13: "\\r", 39: "\\'", 92: "\\\\" };

function shownCharacter(code: number): string {
  const plain = code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : `\\x${code.toString(16).padStart(2, "0")}`;
  return `'${escapes[code] ?? plain}'`;
}
