/**
 * The state of devices: described once by fields with versions, carried in several encodings. Imports nothing.
 *
 * @packageDocumentation
 */

export { ByteReader } from "./codec/byte-reader.js";
export { ByteWriter } from "./codec/byte-writer.js";
// For users: encodings.
export { jsonCodec } from "./codec/json.js";
export type { JsonValue } from "./codec/json-format.js";
export {
  type QemuReadOptions,
  type QemuWriteOptions,
  qemuCodec,
  readQemuState,
  writeQemuState,
} from "./codec/qemu.js";
export type { QemuFdReader, QemuFdWriter } from "./codec/qemu-format.js";
// For implementers of fields, codecs and streams.
export type {
  Codec,
  DecodeOptions,
  EncodeOptions,
  Framing,
  IncomingSubsection,
  IntegerType,
  Sink,
  Source,
  WideType,
} from "./codec.js";
export type {
  Fields,
  FittingFields,
  StateOfFields,
  Subsections,
  VmstateDescriptor,
} from "./descriptor.js";
// For users: descriptors and fields.
export { type StateOf, type Vmstate, type VmstateOptions, vmstate } from "./descriptor.js";
export { VmstateError, type VmstateErrorCode, type VmstateErrorOptions } from "./error.js";
export { array } from "./field/array.js";
export { bitmap } from "./field/bitmap.js";
export { buffer, unused } from "./field/bytes.js";
export type { Count, CountNeeds } from "./field/count.js";
export { atMost, equal } from "./field/equal.js";
export { existsIf, since } from "./field/exists.js";
export { fd } from "./field/fd.js";
export { float64 } from "./field/float.js";
export { bool, i8, i16, i32, i64, u8, u16, u32, u64 } from "./field/integer.js";
export { list, tailQueue } from "./field/list.js";
export { named } from "./field/named.js";
export { pointers } from "./field/pointers.js";
export { struct, type Temporary, temporary } from "./field/struct.js";
export { text } from "./field/text.js";
export { timer } from "./field/timer.js";
export { type TreeEntry, tree } from "./field/tree.js";
export { validate } from "./field/validate.js";
export type { Field, LoadScope, NeedsOf, SaveScope, SilentField, ValueOf } from "./field.js";
export { type LoadStateOptions, loadState } from "./load.js";
export { Place } from "./place.js";
export { PRIORITY } from "./priority.js";
export { isNeeded, saveState } from "./save.js";
// For users: what programs of different versions understand of each other.
export {
  type DescriptorSchema,
  type FieldSchema,
  type SectionSchema,
  type VmstateSchema,
  vmstateSchema,
} from "./schema.js";
export { type SchemaBreak, schemaBreaks } from "./schema-check.js";
