import type { Codec, DecodeOptions } from "../codec.js";
import type { Vmstate } from "../descriptor.js";
import { loadState } from "../load.js";
import { Place } from "../place.js";
import { saveState } from "../save.js";
import type { JsonValue } from "./json-format.js";
import { JsonSink } from "./json-sink.js";
import { JsonSource } from "./json-source.js";

/**
 * A readable encoding: structs are objects with a state's own names, 64-bit integers are strings of decimal digits,
 * bytes are hex, `$version` and `$subsections` stand beside the members. The version is that of the encoding;
 * `version` of the options is not looked at. States with descriptors of files are refused with `VMSTATE_FD`.
 * Members that the descriptor does not know are refused: what is edited by hand is not ignored silently.
 */
export const jsonCodec: Codec<JsonValue> = {
  encode(descriptor, state, options = {}) {
    const sink = new JsonSink(new Place(options.path ?? descriptor.name), descriptor.version);
    saveState(sink, descriptor, state);
    return sink.root;
  },

  decode<S>(descriptor: Vmstate<S>, encoded: JsonValue, options: DecodeOptions<S> = {}) {
    const source = new JsonSource(encoded, new Place(options.path ?? descriptor.name));
    return loadState(source, descriptor, { version: source.version(), local: options.local }) as S;
  },
};
