import type { Field } from "../field.js";
import { isInteger } from "../integer-range.js";

/**
 * An open file by its number in this process. How it travels is the channel's matter; `VMSTATE_FD` where the encoding
 * was given none that can. The number that is loaded is owned by who loads. QEMU: `VMSTATE_FD`.
 */
export const fd: Field<number> = {
  type: "fd",
  minimumBytes: 1,
  save(sink, value) {
    if (!isInteger("int32", value) || value < 0) throw sink.place.error("VMSTATE_VALUE", `${String(value)} is no fd`);
    sink.fd(value);
  },
  load: (source) => source.fd(),
};
