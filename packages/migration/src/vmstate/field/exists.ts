import { descriptorError } from "../descriptor-error.js";
import type { Field } from "../field.js";

/**
 * A field that streams have since `version` of its struct. Older ones leave this side's value, or `fallback`.
 * QEMU: the `_V` forms of field macros.
 */
export function since<T, N>(version: number, field: Field<T, N>, fallback: T): Field<T, N> {
  checkUnconditional("since", field);
  return {
    ...field,
    since: version,
    exists: (_state, incoming) => incoming >= version,
    fallback: fresh(fallback),
  };
}

/**
 * A field that is in the stream where `exists` says so, of what stands before it and the struct's version, and of
 * nothing else. Elsewhere the value is this side's, or `fallback`. `reads` names the members that `exists` reads.
 * QEMU: the `_TEST` forms of field macros.
 */
export function existsIf<T, N, S>(
  reads: readonly (keyof S & string)[],
  exists: (state: S, version: number) => boolean,
  field: Field<T, N>,
  fallback: T,
): Field<T, N & S> {
  checkUnconditional("existsIf", field);
  return {
    ...(field as Field<T, N & S>),
    reads: [...(field.reads ?? []), ...reads],
    exists: (state, version) => exists(state as S, version),
    fallback: fresh(fallback),
  };
}

/** Gives a value of its own each time; only objects need a copy for that. */
function fresh<T>(fallback: T): () => T {
  return typeof fallback === "object" && fallback !== null ? () => structuredClone(fallback) : () => fallback;
}

/** One rule decides: a second one would silently replace the first. */
function checkUnconditional(what: string, field: Field<unknown, never>): void {
  if (field.exists)
    throw descriptorError(what, "the field has a rule for its existence already; put both into existsIf");
}
