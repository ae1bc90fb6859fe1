import type { Sink, Source } from "../codec.js";
import { descriptorError } from "../descriptor-error.js";
import type { VmstateErrorCode } from "../error.js";
import type { LoadScope, SaveScope } from "../field.js";
import type { Place } from "../place.js";

/**
 * How many: a number, or the member with the count, which stands earlier in the same struct. With `times`, each of the
 * member's units counts so often (QEMU: `VMS_MULTIPLY`, `VMS_MULTIPLY_ELEMENTS`).
 */
export type Count<K extends string = string> = number | K | { readonly of: K; readonly times: number };

/** What a count needs of its struct. */
export type CountNeeds<C> = C extends number
  ? unknown
  : C extends string
    ? Readonly<Record<C, number>>
    : C extends { readonly of: infer K extends string }
      ? Readonly<Record<K, number>>
      : unknown;

/** The members that a count reads. Throws `VMSTATE_DESCRIPTOR` for a number that counts nothing. */
export function countReads(count: Count): readonly string[] {
  const known = typeof count === "number" ? count : typeof count === "string" ? 1 : count.times;
  if (!Number.isSafeInteger(known) || known < 0) throw descriptorError("count", `${known} is no count`);
  if (typeof count === "number") return [];
  return [typeof count === "string" ? count : count.of];
}

/** The count in a struct that is saved. Throws `VMSTATE_VALUE` for one that is negative or beyond 2^53. */
export function saveCount(count: Count, scope: SaveScope, sink: Sink): number {
  return countIn(count, scope.state, sink.place, "VMSTATE_VALUE");
}

/** The count in a struct that is loaded. Throws `VMSTATE_INVALID` for one that is negative or beyond 2^53. */
export function loadCount(count: Count, scope: LoadScope, source: Source): number {
  return countIn(count, scope.state, source.place, "VMSTATE_INVALID");
}

function countIn(count: Count, state: SaveScope["state"], place: Place, code: VmstateErrorCode): number {
  if (typeof count === "number") return count;
  const [name, times] = typeof count === "string" ? [count, 1] : [count.of, count.times];
  const total = Number(state[name]) * times;
  if (!Number.isSafeInteger(total) || total < 0) {
    throw place.error(code, `its count, ${name}, is ${String(state[name])}`, { count: name });
  }
  return total;
}
