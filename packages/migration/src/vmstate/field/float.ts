import type { Field } from "../field.js";
import { u64 } from "./integer.js";

/**
 * A double as the bigint of its 64 bits, upper half first in streams: a JavaScript number would lose the payload of a
 * NaN, which guests can see. QEMU: `VMSTATE_FLOAT64`, `VMSTATE_CPUDOUBLE`.
 */
export const float64: Field<bigint> = { ...u64, type: "float64" };
