import type protobuf from "protobufjs";

/** A field of a message, as it stands in the bytes. */
export type RawField =
  | { readonly number: number; readonly wire: 0 | 1; readonly low: number; readonly high: number }
  | { readonly number: number; readonly wire: 2; readonly bytes: Uint8Array }
  | { readonly number: number; readonly wire: 5; readonly low: number };

/** The fields that a descriptor does not know, by the path of the struct that had them. */
export type UnknownFields = ReadonlyMap<string, readonly RawField[]>;

/** The member of a loaded state with its unknown fields: what keeps it, as a spread does, writes them again. */
export const UNKNOWN_FIELDS: unique symbol = Symbol.for("baton.vmstate.unknown-fields");

/** What a state was loaded with beside what its descriptor knows; undefined if with nothing. */
export function unknownFieldsOf(state: unknown): UnknownFields | undefined {
  if (typeof state !== "object" || state === null) return undefined;
  const fields = (state as Readonly<Record<symbol, unknown>>)[UNKNOWN_FIELDS];
  return fields instanceof Map ? (fields as UnknownFields) : undefined;
}

/** Writes one as it was. */
export function writeRaw(writer: protobuf.Writer, field: RawField): void {
  writer.uint32(((field.number << 3) | field.wire) >>> 0);
  if (field.wire === 2) writer.bytes(field.bytes);
  else if (field.wire === 5) writer.fixed32(field.low);
  else if (field.wire === 1) writer.fixed32(field.low).fixed32(field.high);
  else writer.uint64({ low: field.low | 0, high: field.high | 0, unsigned: true } as protobuf.Long);
}
