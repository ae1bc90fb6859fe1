import type { Field } from "../field.js";
import { isText } from "../text-rule.js";

/** At most 255 bytes of UTF-8 after one byte with their number. QEMU: `qemu_put_counted_string`. */
export const text: Field<string> = {
  type: "str",
  minimumBytes: 1,
  save(sink, value) {
    if (!isText(value)) throw sink.place.error("VMSTATE_VALUE", "is no text of at most 255 bytes of UTF-8");
    sink.text(value);
  },
  load: (source) => source.text(),
};
