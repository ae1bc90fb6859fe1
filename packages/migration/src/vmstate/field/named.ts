import type { Field } from "../field.js";

/** The same field under another name in streams, as in `last_avail_idx` for a member `lastAvail`. */
export function named<T, N>(streamName: string, field: Field<T, N>): Field<T, N> {
  return { ...field, streamName };
}
