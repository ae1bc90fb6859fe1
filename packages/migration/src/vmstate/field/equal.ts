import type { Field } from "../field.js";

/**
 * A value that must be the same on both sides: `expected`, or this side's where it is not given
 * (`VMSTATE_LOCAL_MISSING` if there is none). Throws `VMSTATE_MISMATCH` on load. QEMU: `VMSTATE_*_EQUAL`.
 */
export function equal<T extends number | bigint | boolean | string, N>(field: Field<T, N>, expected?: T): Field<T, N> {
  return {
    ...field,
    type: `${field.type} equal`,
    load(source, scope) {
      const value = field.load(source, scope);
      const mine = expected ?? scope.local;
      if (mine === undefined)
        throw source.place.error("VMSTATE_LOCAL_MISSING", "this side has no value to compare with");
      if (value !== mine) {
        throw source.place.error("VMSTATE_MISMATCH", `is ${value}, but ${String(mine)} on this side`, {
          incoming: value,
          local: mine,
        });
      }
      return value;
    },
  };
}

/**
 * A number that is not negative and at most `limit`, or this side's where no limit is given. Throws
 * `VMSTATE_MISMATCH` on load. QEMU: `VMSTATE_INT32_POSITIVE_LE` and its kin.
 */
export function atMost<N>(field: Field<number, N>, limit?: number): Field<number, N> {
  return {
    ...field,
    type: `${field.type} le`,
    load(source, scope) {
      const value = field.load(source, scope);
      const most = limit ?? scope.local;
      if (typeof most !== "number") throw source.place.error("VMSTATE_LOCAL_MISSING", "this side has no limit");
      if (value < 0 || value > most) {
        throw source.place.error("VMSTATE_MISMATCH", `is ${value}, not within 0 to ${most}`, {
          incoming: value,
          local: most,
        });
      }
      return value;
    },
  };
}
