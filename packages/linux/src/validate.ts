/** Small checks at the border: koffi takes 1.5, -1, undefined or a string where C wants a pointer or a length. */
import { BatonError } from "./errors.js";

function refuse(name: string, wanted: string, value: unknown): never {
  const shown = typeof value === "bigint" ? `${value}n` : typeof value === "object" ? typeof value : String(value);
  throw new BatonError("INVALID_ARGUMENT", `${name} must be ${wanted}, not ${shown}`, { details: { argument: name } });
}

/** An integer within [min, max]. */
export function anInt(
  value: number,
  name: string,
  min = Number.MIN_SAFE_INTEGER,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (!Number.isSafeInteger(value) || value < min || value > max)
    refuse(name, `an integer from ${min} to ${max}`, value);
  return value;
}

/** An unsigned 32-bit integer. */
export function aU32(value: number, name: string): number {
  return anInt(value, name, 0, 0xffffffff);
}

/** An unsigned 64-bit integer as a bigint, from a bigint or a safe integer. */
export function aU64(value: bigint | number, name: string): bigint {
  if (typeof value === "number" ? !Number.isSafeInteger(value) : typeof value !== "bigint") {
    refuse(name, "an unsigned 64-bit integer", value);
  }
  const big = BigInt(value);
  if (big < 0n || big > 0xffff_ffff_ffff_ffffn) refuse(name, "an unsigned 64-bit integer", value);
  return big;
}

/** A length or a file offset: 0 to 2^63 - 1. */
export function aSize(value: bigint | number, name: string): bigint {
  const big = aU64(value, name);
  if (big > 0x7fff_ffff_ffff_ffffn) refuse(name, "a size below 2^63", value);
  return big;
}

/** The address of memory in this process: not null, within user space. */
export function anHva(value: bigint, name: string): bigint {
  if (typeof value !== "bigint" || value <= 0n || value > 0x7fff_ffff_ffff_ffffn) {
    refuse(name, "an address in this process (a bigint)", value);
  }
  return value;
}

/** A view of bytes that native code may read or write. */
export function aView<T extends ArrayBufferView>(value: T, name: string): T {
  if (!ArrayBuffer.isView(value)) refuse(name, "a Uint8Array", value);
  return value;
}

/** A string without NUL, as C wants it. */
export function aCString(value: string, name: string): string {
  if (typeof value !== "string") refuse(name, "a string", value);
  if (value.includes("\0")) refuse(name, "a string without NUL characters", JSON.stringify(value));
  return value;
}

/** A path: a C string that is not empty. */
export function aPath(value: string, name = "path"): string {
  if (value === "") refuse(name, "a path", '""');
  return aCString(value, name);
}
