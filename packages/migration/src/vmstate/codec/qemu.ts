import type { Codec, DecodeOptions, EncodeOptions } from "../codec.js";
import type { Vmstate } from "../descriptor.js";
import { loadState } from "../load.js";
import { Place } from "../place.js";
import { saveState } from "../save.js";
import { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";
import type { QemuFdReader, QemuFdWriter } from "./qemu-format.js";
import { QemuSink } from "./qemu-sink.js";
import { QemuSource } from "./qemu-source.js";

/** What {@link writeQemuState} takes. */
export interface QemuWriteOptions extends EncodeOptions {
  /** How descriptors travel; a state that has one cannot be saved without. */
  readonly fds?: QemuFdWriter;
}

/** What {@link readQemuState} takes. */
export interface QemuReadOptions<S> extends DecodeOptions<S> {
  /** How descriptors travel; a state that has one cannot be loaded without. */
  readonly fds?: QemuFdReader;
}

/**
 * Writes the payload of a section: the state without name and version, which stand in the section's header. Throws
 * `VmstateError`; then the writer holds a part of the state.
 */
export function writeQemuState<S>(
  writer: ByteWriter,
  descriptor: Vmstate<S>,
  state: S,
  options: QemuWriteOptions = {},
): void {
  saveState(new QemuSink(writer, new Place(options.path ?? descriptor.name), options.fds), descriptor, state);
}

/**
 * Reads the payload of a section and leaves the reader behind it: its length is not in the stream. Throws
 * `VmstateError` with path and offset; nothing is returned then.
 */
export function readQemuState<S>(reader: ByteReader, descriptor: Vmstate<S>, options: QemuReadOptions<S> = {}): S {
  const place = new Place(options.path ?? descriptor.name, () => reader.start);
  return loadState(new QemuSource(reader, place, options.fds), descriptor, options) as S;
}

/** QEMU's binary encoding of one state, all bytes of it. QEMU: migration/vmstate.c. */
export const qemuCodec: Codec<Uint8Array> = {
  encode(descriptor, state, options) {
    const writer = new ByteWriter();
    writeQemuState(writer, descriptor, state, options);
    return writer.finish();
  },

  decode(descriptor, encoded, options = {}) {
    const reader = new ByteReader(encoded);
    const state = readQemuState(reader, descriptor, options);
    if (reader.left > 0) {
      const place = new Place(options.path ?? descriptor.name, () => reader.offset);
      throw place.error("VMSTATE_TRAILING", `${reader.left} bytes follow the state`, { left: reader.left });
    }
    return state;
  },
};
