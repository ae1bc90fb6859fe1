/** A byte buffer with the kernel struct's little-endian fields at their offsets; for private data, never for shared pages. */
export class Struct {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array | number) {
    this.bytes = typeof bytes === "number" ? new Uint8Array(bytes) : bytes;
    this.#view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  u8(offset: number): number {
    return this.#view.getUint8(offset);
  }
  u16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }
  i64(offset: number): bigint {
    return this.#view.getBigInt64(offset, true);
  }
  setU8(offset: number, value: number): this {
    this.#view.setUint8(offset, value);
    return this;
  }
  setU16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }
  setU32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }
  setU64(offset: number, value: bigint): this {
    this.#view.setBigUint64(offset, value, true);
    return this;
  }
  setI64(offset: number, value: bigint): this {
    this.#view.setBigInt64(offset, value, true);
    return this;
  }

  /** A struct over part of this one's bytes. */
  at(offset: number, length: number): Struct {
    return new Struct(this.bytes.subarray(offset, offset + length));
  }
}

/** The width of a field in a {@link FieldTable}. */
export type FieldWidth = "u8" | "u16" | "u32" | "u64";

/** Where each field of a kernel struct stands and how wide it is. */
export type FieldTable = Readonly<Record<string, readonly [offset: number, width: FieldWidth]>>;

/** The plain object that a {@link FieldTable} describes: bigint for 64-bit fields, number for the rest. */
export type FieldValues<T extends FieldTable> = {
  -readonly [K in keyof T]: T[K][1] extends "u64" ? bigint : number;
};

/** Reads every field of the table out of a struct. */
export function readFields<T extends FieldTable>(struct: Struct, table: T): FieldValues<T> {
  const values: Record<string, number | bigint> = {};
  for (const [name, [offset, width]] of Object.entries(table)) values[name] = struct[width](offset);
  return values as FieldValues<T>;
}

/** Writes every field of the table into a struct. */
export function writeFields<T extends FieldTable>(struct: Struct, table: T, values: FieldValues<T>): Struct {
  const record = values as Record<string, number | bigint>;
  for (const [name, [offset, width]] of Object.entries(table)) {
    const value = record[name];
    if (width === "u64") struct.setU64(offset, value as bigint);
    else if (width === "u32") struct.setU32(offset, value as number);
    else if (width === "u16") struct.setU16(offset, value as number);
    else struct.setU8(offset, value as number);
  }
  return struct;
}
