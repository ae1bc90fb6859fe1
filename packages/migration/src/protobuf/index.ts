/**
 * States as protocol buffers: the third codec of vmstate, which stands on protobufjs.
 *
 * @packageDocumentation
 */

// For users.
export { protobufCodec } from "./codec.js";
export { protobufType } from "./type.js";
// For implementers of tools.
export { type RawField, UNKNOWN_FIELDS, type UnknownFields, unknownFieldsOf } from "./unknown-fields.js";
