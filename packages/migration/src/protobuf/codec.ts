import { type Codec, type DecodeOptions, loadState, Place, saveState, type Vmstate } from "../vmstate/index.js";
import { checkNumbers } from "./field-number.js";
import { ProtobufSink } from "./sink.js";
import { ProtobufSource } from "./source.js";
import { UNKNOWN_FIELDS, unknownFieldsOf } from "./unknown-fields.js";

/**
 * Protocol buffers: each struct is a message whose field numbers follow from the members' names, so that a change of one
 * member changes no other. The version is that of the encoding; `version` of the options is not looked at. Members that the
 * descriptor does not know are kept with the state and written again; subsections that it does not know are refused,
 * and so is a member that is missing. States with descriptors of files are refused with `VMSTATE_FD`.
 * {@link protobufType} gives the messages' description for others.
 */
export const protobufCodec: Codec<Uint8Array> = {
  encode(descriptor, state, options = {}) {
    checkNumbers(descriptor);
    const place = new Place(options.path ?? descriptor.name);
    const sink = new ProtobufSink(place, descriptor.version, unknownFieldsOf(state));
    saveState(sink, descriptor, state);
    return sink.finish();
  },

  decode<S>(descriptor: Vmstate<S>, encoded: Uint8Array, options: DecodeOptions<S> = {}) {
    checkNumbers(descriptor);
    const source = new ProtobufSource(encoded, new Place(options.path ?? descriptor.name));
    const state = loadState(source, descriptor, { version: source.version(), local: options.local }) as S;
    if (source.unknown.size === 0) return state;
    return { ...state, [UNKNOWN_FIELDS]: source.unknown };
  },
};
