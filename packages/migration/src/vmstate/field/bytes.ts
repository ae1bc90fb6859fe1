import type { Field, SilentField } from "../field.js";
import { type Count, type CountNeeds, countReads, loadCount, saveCount } from "./count.js";

/**
 * Raw bytes: a fixed number of them, or as many as an earlier member says. Loaded as a copy.
 * QEMU: `VMSTATE_BUFFER`, `VMSTATE_VBUFFER`.
 */
export function buffer<const C extends Count>(length: C): Field<Uint8Array, CountNeeds<C>> {
  return {
    type: "buffer",
    minimumBytes: typeof length === "number" ? length : 0,
    count: length,
    reads: countReads(length),
    save(sink, value, scope) {
      const bytes = saveCount(length, scope, sink);
      if (!(value instanceof Uint8Array) || value.length !== bytes) {
        throw sink.place.error("VMSTATE_VALUE", `is no Uint8Array of ${bytes} bytes`);
      }
      sink.bytes(value);
    },
    load: (source, scope) => source.bytes(loadCount(length, scope, source)),
  };
}

/**
 * Space that nobody uses any more: zeros when written, ignored when read, since older writers may have had data there.
 * It has no member in the state. QEMU: `VMSTATE_UNUSED`.
 */
export function unused(length: number): SilentField {
  return {
    type: "unused_buffer",
    minimumBytes: length,
    count: length,
    silent: true,
    save: (sink) => sink.unused(length),
    load(source) {
      source.unused(length);
      return undefined;
    },
  };
}
