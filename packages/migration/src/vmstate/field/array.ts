import { descriptorError } from "../descriptor-error.js";
import type { Field, LoadScope, SaveScope } from "../field.js";
import { type Count, type CountNeeds, countReads, loadCount, saveCount } from "./count.js";

/**
 * Elements one after the other: a fixed number of them, or as many as an earlier member says. The number is not in the
 * stream. QEMU: `VMSTATE_ARRAY`, `VMSTATE_VARRAY_*`, `VMSTATE_STRUCT_ARRAY` and so on.
 */
export function array<const C extends Count, T, N>(count: C, element: Field<T, N>): Field<T[], N & CountNeeds<C>> {
  checkElement("array", element, typeof count === "number");
  return {
    ...elementsOf(count, element),
    type: element.type,
    minimumBytes: typeof count === "number" ? count * element.minimumBytes : 0,
    save(sink, value, scope: SaveScope) {
      const length = saveCount(count, scope, sink);
      if (!Array.isArray(value) || value.length !== length) {
        throw sink.place.error("VMSTATE_VALUE", `is no array of ${length}`);
      }
      sink.beginElements("plain", length);
      for (let i = 0; i < length; i++) {
        sink.place.enter(i);
        sink.element("plain");
        element.save(sink, value[i] as T, scope);
        sink.place.leave();
      }
      sink.endElements("plain");
    },
    load(source, scope: LoadScope) {
      const length = loadCount(count, scope, source);
      source.beginElements("plain", element.minimumBytes, length);
      const value: T[] = [];
      for (let i = 0; i < length; i++) {
        source.place.enter(i);
        source.element(i);
        value.push(element.load(source, { ...scope, local: localElement(scope, i) }));
        source.place.leave();
      }
      source.endElements("plain");
      return value;
    },
  };
}

/** This side's element `index` of the array that is loaded. */
export function localElement(scope: LoadScope, index: number): unknown {
  return Array.isArray(scope.local) ? scope.local[index] : undefined;
}

/** What a field of counted elements takes over from them. */
export function elementsOf(count: Count, element: Field<unknown, never>) {
  return {
    element,
    count,
    ...(element.struct ? { struct: element.struct, endsWithStruct: element.endsWithStruct ?? false } : {}),
    reads: [...countReads(count), ...(element.reads ?? [])],
  };
}

/**
 * Refuses elements that may take no bytes where the stream says how many there are, since then nothing bounds them, and
 * elements that may not exist or have no value, since streams would not tell which those are.
 */
export function checkElement(what: string, element: Field<unknown, never>, fixed: boolean): void {
  if (element.exists || "silent" in element) {
    throw descriptorError(what, "elements of arrays and lists always exist and have values");
  }
  if (!fixed && element.minimumBytes === 0) {
    throw descriptorError(what, "elements whose number comes from a stream must take at least one byte each");
  }
}
