import type { IntegerType, WideType } from "../codec.js";
import type { Field } from "../field.js";
import { isInteger, isWide } from "../integer-range.js";

function integer(type: IntegerType, bytes: number): Field<number> {
  return {
    type,
    minimumBytes: bytes,
    save(sink, value) {
      if (!isInteger(type, value)) throw sink.place.error("VMSTATE_VALUE", `${String(value)} is no ${type}`);
      sink.integer(type, value);
    },
    load: (source) => source.integer(type),
  };
}

function wide(type: WideType): Field<bigint> {
  return {
    type,
    minimumBytes: 8,
    save(sink, value) {
      if (!isWide(type, value)) throw sink.place.error("VMSTATE_VALUE", `${String(value)} is no ${type}`);
      sink.wide(type, value);
    },
    load: (source) => source.wide(type),
  };
}

/** One byte, 0 to 255. */
export const u8: Field<number> = integer("uint8", 1);
/** One byte, -128 to 127. */
export const i8: Field<number> = integer("int8", 1);
/** Two bytes, 0 to 65535. */
export const u16: Field<number> = integer("uint16", 2);
/** Two bytes, -32768 to 32767. */
export const i16: Field<number> = integer("int16", 2);
/** Four bytes, 0 to 2^32 - 1. */
export const u32: Field<number> = integer("uint32", 4);
/** Four bytes, -2^31 to 2^31 - 1. */
export const i32: Field<number> = integer("int32", 4);
/** Eight bytes, a bigint of 0 to 2^64 - 1. */
export const u64: Field<bigint> = wide("uint64");
/** Eight bytes, a bigint of -2^63 to 2^63 - 1. */
export const i64: Field<bigint> = wide("int64");

/** One byte, 0 or 1; any other is refused. */
export const bool: Field<boolean> = {
  type: "bool",
  minimumBytes: 1,
  save(sink, value) {
    if (typeof value !== "boolean") throw sink.place.error("VMSTATE_VALUE", `${String(value)} is no boolean`);
    sink.bool(value);
  },
  load: (source) => source.bool(),
};
