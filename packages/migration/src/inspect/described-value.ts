import { hexText } from "../hex.js";
import type { DescribedField, DescribedState } from "../stream/description.js";
import { TAG } from "../stream/format.js";
import { streamError } from "../stream/stream-error.js";
import type { ByteReader } from "../vmstate/index.js";
import type { InspectedValue } from "./inspected.js";

type Values = { [name: string]: InspectedValue };

const DEEPEST = 64;
/** Values of one stream; real ones have some thousands. */
const MOST_VALUES = 4_000_000;
/** Elements that take no bytes are bounded by this alone. */
const MOST_EMPTY = 4096;

/** Decodes states by their descriptions, which are no more to be trusted than the bytes. */
export class DescribedValues {
  #left = MOST_VALUES;

  /** Reads a state and its subsections. Throws `STREAM_DESCRIPTION`, or what the reader throws for missing bytes. */
  state(reader: ByteReader, described: DescribedState, depth = 0): Values {
    if (depth > DEEPEST) throw this.#refuse(reader, `states nest deeper than ${DEEPEST}`);
    const values: Values = Object.create(null);
    for (const field of described.fields) this.#field(reader, values, field, depth);
    for (const subsection of described.subsections ?? []) {
      const at = reader.offset;
      if (reader.u8() !== TAG.subsection) {
        throw this.#refuse(reader, `subsection '${subsection.vmsd_name}' does not start at byte ${at}`);
      }
      const name = new TextDecoder().decode(reader.bytes(reader.u8()));
      if (name !== subsection.vmsd_name) {
        throw this.#refuse(reader, `subsection '${subsection.vmsd_name}' is described, '${name}' came`);
      }
      const version = reader.u32();
      if (version !== subsection.version) {
        throw this.#refuse(reader, `subsection '${name}' has version ${version}, not ${subsection.version}`);
      }
      values[name] = this.state(reader, subsection, depth + 1);
    }
    return values;
  }

  #refuse(reader: ByteReader, message: string): Error {
    return streamError("STREAM_DESCRIPTION", message, reader.start);
  }

  #field(reader: ByteReader, values: Values, field: DescribedField, depth: number): void {
    const { name, array_len: length, index } = field;
    if (length !== undefined) {
      if (length > MOST_EMPTY && length > reader.left) {
        throw this.#refuse(reader, `${length} elements of '${name}' are described, ${reader.left} bytes are left`);
      }
      const array: InspectedValue[] = [];
      for (let i = 0; i < length; i++) array.push(this.#value(reader, field, depth));
      values[name] = array;
    } else if (index !== undefined) {
      const before = values[name];
      const array = Array.isArray(before) ? (before as InspectedValue[]) : [];
      array.push(this.#value(reader, field, depth));
      values[name] = array;
    } else {
      values[name] = this.#value(reader, field, depth);
    }
  }

  #value(reader: ByteReader, field: DescribedField, depth: number): InspectedValue {
    if (--this.#left < 0) throw this.#refuse(reader, `more than ${MOST_VALUES} values`);
    const { name, type, size, struct } = field;
    if (struct) {
      const from = reader.offset;
      const state = this.state(reader, struct, depth + 1);
      if (reader.offset - from !== size) {
        throw this.#refuse(reader, `'${name}' is described with ${size} bytes and has ${reader.offset - from}`);
      }
      return state;
    }
    const value = scalar(reader, type, size);
    return value === undefined ? hexText(reader.bytes(size)) : value;
  }
}

/** The value of a known encoding; undefined for bytes. */
function scalar(reader: ByteReader, type: string, size: number): InspectedValue | undefined {
  const [base] = type.split(" ");
  if (base === "bool" && size === 1) {
    const byte = reader.peek(0, 1)?.[0];
    return byte === 0 || byte === 1 ? reader.u8() === 1 : undefined;
  }
  if (base === "timer" && size === 8) {
    const expires = reader.u64();
    return expires === 2n ** 64n - 1n ? null : expires;
  }
  if ((base === "str" || base === "capability") && size > 0 && reader.peek(0, 1)?.[0] === size - 1) {
    reader.skip(1);
    return new TextDecoder().decode(reader.bytes(size - 1));
  }
  const match = /^(u?)int(8|16|32|64)$/.exec(base ?? "");
  if (!match || Number(match[2]) !== size * 8) return undefined;
  const signed = match[1] === "";
  switch (size) {
    case 1:
      return signed ? (reader.u8() << 24) >> 24 : reader.u8();
    case 2:
      return signed ? (reader.u16() << 16) >> 16 : reader.u16();
    case 4:
      return signed ? reader.u32() | 0 : reader.u32();
    default:
      return signed ? BigInt.asIntN(64, reader.u64()) : reader.u64();
  }
}
