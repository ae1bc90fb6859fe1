import type { IntegerType, WideType } from "./codec.js";

const RANGES: Readonly<Record<IntegerType, readonly [min: number, max: number]>> = {
  uint8: [0, 0xff],
  int8: [-0x80, 0x7f],
  uint16: [0, 0xffff],
  int16: [-0x8000, 0x7fff],
  uint32: [0, 0xffff_ffff],
  int32: [-0x8000_0000, 0x7fff_ffff],
};

/** Whether `value` is a whole number that `type` can hold; -0 is none, it would come back as 0. */
export function isInteger(type: IntegerType, value: unknown): value is number {
  const [min, max] = RANGES[type];
  return Number.isInteger(value) && !Object.is(value, -0) && (value as number) >= min && (value as number) <= max;
}

/** Whether `value` is a bigint that `type` can hold. */
export function isWide(type: WideType, value: unknown): value is bigint {
  if (typeof value !== "bigint") return false;
  return (type === "uint64" ? BigInt.asUintN(64, value) : BigInt.asIntN(64, value)) === value;
}
