import type { Field } from "../field.js";
import { checkElement, elementsOf, localElement } from "./array.js";
import { type Count, type CountNeeds, loadCount, saveCount } from "./count.js";

/**
 * An array some of whose elements are absent. Streams do not tell which, so that `local` must have the same ones null;
 * `VMSTATE_LOCAL_MISSING` where it has no array of the same length, `VMSTATE_MISMATCH` where the stream shows that the
 * other side has others. QEMU: `VMSTATE_ARRAY_OF_POINTER` and its kin.
 */
export function pointers<const C extends Count, T, N>(
  count: C,
  element: Field<T, N>,
): Field<(T | null)[], N & CountNeeds<C>> {
  checkElement("pointers", element, typeof count === "number");
  const minimumBytes = Math.min(element.minimumBytes, 1);
  return {
    ...elementsOf(count, element),
    nullable: true,
    type: element.type,
    minimumBytes: typeof count === "number" ? count * minimumBytes : 0,
    save(sink, value, scope) {
      const length = saveCount(count, scope, sink);
      if (!Array.isArray(value) || value.length !== length) {
        throw sink.place.error("VMSTATE_VALUE", `is no array of ${length}`);
      }
      sink.beginElements("plain", length);
      for (let i = 0; i < length; i++) {
        sink.place.enter(i);
        sink.element("plain");
        const item = value[i];
        if (item === null) sink.nullPointer();
        else element.save(sink, item as T, scope);
        sink.place.leave();
      }
      sink.endElements("plain");
    },
    load(source, scope) {
      const { local } = scope;
      const length = loadCount(count, scope, source);
      source.beginElements("plain", minimumBytes, length);
      if (!Array.isArray(local) || local.length !== length) {
        throw source.place.error("VMSTATE_LOCAL_MISSING", `this side has no array of ${length} to tell what is null`);
      }
      const value: (T | null)[] = [];
      for (let i = 0; i < length; i++) {
        source.place.enter(i);
        source.element(i);
        const absent = source.nullPointer(local[i] === null);
        value.push(absent ? null : element.load(source, { ...scope, local: localElement(scope, i) }));
        source.place.leave();
      }
      source.endElements("plain");
      return value;
    },
  };
}
