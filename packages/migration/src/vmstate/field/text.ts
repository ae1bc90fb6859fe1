import type { Field } from "../field.js";

const LIMIT = 255;
/** It would come back as another character. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** At most 255 bytes of UTF-8 after one byte with their number. QEMU: `qemu_put_counted_string`. */
export const text: Field<string> = {
  type: "str",
  minimumBytes: 1,
  save(sink, value) {
    if (typeof value !== "string" || LONE_SURROGATE.test(value) || new TextEncoder().encode(value).length > LIMIT) {
      throw sink.place.error("VMSTATE_VALUE", `is no text of at most ${LIMIT} bytes of UTF-8`);
    }
    sink.text(value);
  },
  load: (source) => source.text(),
};
