import type { Field } from "../field.js";
import { u64 } from "./integer.js";

const NOT_ARMED = 2n ** 64n - 1n;

/** A timer: the nanosecond on its clock at which it expires, null while it is not armed. QEMU: `VMSTATE_TIMER`. */
export const timer: Field<bigint | null> = {
  type: "timer",
  minimumBytes: 8,
  save(sink, value, scope) {
    if (value === NOT_ARMED) throw sink.place.error("VMSTATE_VALUE", "2^64 - 1 means a timer that is not armed");
    u64.save(sink, value ?? NOT_ARMED, scope);
  },
  load(source) {
    const expires = source.wide("uint64");
    return expires === NOT_ARMED ? null : expires;
  },
};
