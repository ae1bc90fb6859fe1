/**
 * A small writer of ACPI machine language (ACPI 6.5, chapter 20). Every function returns the bytes of one term; terms
 * nest by concatenation.
 */
export type Aml = Uint8Array;

const encoder = new TextEncoder();

/** Terms side by side. */
export function concat(...parts: readonly (Aml | readonly number[])[]): Aml {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A name: segments of up to four characters, `\` for the root, dots between segments. */
export function path(name: string): Aml {
  const root = name.startsWith("\\");
  const segments = name
    .slice(root ? 1 : 0)
    .split(".")
    .filter((segment) => segment !== "");
  const bytes = segments.flatMap((segment) => [...encoder.encode(segment.padEnd(4, "_"))]);
  const prefix =
    segments.length === 0 ? [0] : segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  return concat(root ? [0x5c] : [], prefix, bytes);
}

/** An integer in its shortest form. */
export function integer(value: bigint | number): Aml {
  const n = BigInt(value);
  if (n === 0n) return Uint8Array.of(0x00);
  if (n === 1n) return Uint8Array.of(0x01);
  const [prefix, size] = n <= 0xffn ? [0x0a, 1] : n <= 0xffffn ? [0x0b, 2] : n <= 0xffffffffn ? [0x0c, 4] : [0x0e, 8];
  return concat([prefix], little(n, size));
}

/** A string of ASCII characters. */
export function string(text: string): Aml {
  return concat([0x0d], encoder.encode(text), [0]);
}

/** A compressed EISA id, as in "PNP0501". */
export function eisaId(id: string): Aml {
  const [a, b, c] = [...id.slice(0, 3)].map((letter) => letter.charCodeAt(0) - 0x40) as [number, number, number];
  const vendor = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  return concat([0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]);
}

/** `Name (name, value)`. */
export function name(id: string, value: Aml): Aml {
  return concat([0x08], path(id), value);
}

/** `Scope (name) { ... }`. */
export function scope(id: string, ...terms: readonly Aml[]): Aml {
  return concat([0x10], packaged(path(id), ...terms));
}

/** `Device (name) { ... }`. */
export function device(id: string, ...terms: readonly Aml[]): Aml {
  return concat([0x5b, 0x82], packaged(path(id), ...terms));
}

/** `Method (name, args, Serialized) { ... }`. */
export function method(id: string, args: number, ...terms: readonly Aml[]): Aml {
  return concat([0x14], packaged(path(id), Uint8Array.of(args | 8), ...terms));
}

/** `Package () { ... }`. */
export function pkg(...elements: readonly Aml[]): Aml {
  return concat([0x12], packaged(Uint8Array.of(elements.length), ...elements));
}

/** `OperationRegion (name, SystemMemory or SystemIO, base, length)`. */
export function operationRegion(id: string, space: "memory" | "io", base: bigint, length: number): Aml {
  return concat([0x5b, 0x80], path(id), [space === "memory" ? 0 : 1], integer(base), integer(length));
}

/** `Field (region, access, NoLock, WriteAsZeros) { name, bits, ... }`. */
export function field(
  region: string,
  access: "byte" | "word" | "dword",
  fields: readonly (readonly [string, number])[],
): Aml {
  const flags = { byte: 1, word: 2, dword: 3 }[access] | 0x40;
  const list = fields.map(([id, bits]) => concat(path(id), packageLength(bits, false)));
  return concat([0x5b, 0x81], packaged(path(region), Uint8Array.of(flags), ...list));
}

/** `Store (value, target)`. */
export function store(value: Aml, target: Aml): Aml {
  return concat([0x70], value, target);
}

/** `And (a, b)` as a value. */
export function and(a: Aml, b: Aml): Aml {
  return concat([0x7b], a, b, [0]);
}

/** `If (condition) { ... }`. */
export function when(condition: Aml, ...terms: readonly Aml[]): Aml {
  return concat([0xa0], packaged(condition, ...terms));
}

/** `Notify (object, value)`. */
export function notify(object: string, value: number): Aml {
  return concat([0x86], path(object), integer(value));
}

/** `Return (value)`. */
export function returns(value: Aml): Aml {
  return concat([0xa4], value);
}

/** `Local0` to `Local7`. */
export function local(index: number): Aml {
  return Uint8Array.of(0x60 + index);
}

/** `Buffer () { ... }`. */
export function buffer(bytes: Aml): Aml {
  return concat([0x11], packaged(integer(bytes.length), bytes));
}

/** `ResourceTemplate () { ... }` of descriptors, with its end tag. */
export function resources(...descriptors: readonly Aml[]): Aml {
  return buffer(concat(...descriptors, [0x79, 0]));
}

/** I/O ports, decoded to 16 bits. */
export function ioPorts(base: number, length: number): Aml {
  return concat([0x47, 1], little(BigInt(base), 2), little(BigInt(base), 2), [1, length]);
}

/** A fixed range of memory below 4 GiB that can be written. */
export function memory32Fixed(base: bigint, length: number): Aml {
  return concat([0x86, 9, 0, 1], little(base, 4), little(BigInt(length), 4));
}

/** An interrupt: GSI, trigger and polarity always high or rising. */
export function interrupt(gsi: number, trigger: "edge" | "level"): Aml {
  return concat([0x89, 6, 0, trigger === "edge" ? 0x03 : 0x01, 1], little(BigInt(gsi), 4));
}

function little(value: bigint, size: number): Aml {
  return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function packaged(...parts: readonly Aml[]): Aml {
  const body = concat(...parts);
  return concat(packageLength(body.length, true), body);
}

/** The PkgLength encoding: up to 28 bits; `self` counts its own bytes, as packages want and field widths do not. */
function packageLength(length: number, self: boolean): Aml {
  for (let extra = 0; extra <= 3; extra++) {
    const total = self ? length + extra + 1 : length;
    if (extra === 0 && total < 64) return Uint8Array.of(total);
    if (extra > 0 && total < 2 ** (4 + 8 * extra)) {
      const bytes = Array.from({ length: extra }, (_, i) => Math.floor(total / 2 ** (4 + 8 * i)) & 0xff);
      return Uint8Array.of((extra << 6) | (total & 15), ...bytes);
    }
  }
  throw new RangeError(`An AML package of ${length} bytes cannot be encoded`);
}
