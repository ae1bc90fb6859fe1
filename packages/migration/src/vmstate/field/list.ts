import type { Field } from "../field.js";
import { checkElement } from "./array.js";

/** A list whose length the stream shows by a mark before each element and one at the end. QEMU: `VMSTATE_QLIST_V`. */
export function list<T, N>(element: Field<T, N>): Field<T[], N> {
  return marked("qlist", element);
}

/** The same bytes as {@link list}; descriptions of streams tell them apart. QEMU: `VMSTATE_QTAILQ_V`. */
export function tailQueue<T, N>(element: Field<T, N>): Field<T[], N> {
  return marked("qtailq", element);
}

function marked<T, N>(type: string, element: Field<T, N>): Field<T[], N> {
  checkElement(type, element, true);
  return {
    type,
    minimumBytes: 1,
    element,
    ...(element.struct ? { struct: element.struct } : {}),
    reads: element.reads ?? [],
    save(sink, value, scope) {
      if (!Array.isArray(value)) throw sink.place.error("VMSTATE_VALUE", "is no array");
      sink.beginElements("marked", value.length);
      for (const [i, item] of value.entries()) {
        sink.place.enter(i);
        sink.element("marked");
        element.save(sink, item as T, scope);
        sink.place.leave();
      }
      sink.endElements("marked");
    },
    load(source, scope) {
      const value: T[] = [];
      source.beginElements("marked", element.minimumBytes, undefined);
      for (let i = 0; source.hasElement(); i++) {
        source.place.enter(i);
        source.element(i);
        // Elements are made anew: none of this side's stands for one of the stream's.
        value.push(element.load(source, { ...scope, local: undefined }));
        source.place.leave();
      }
      source.endElements("marked");
      return value;
    },
  };
}
