import type { Field } from "../field.js";
import { checkElement } from "./array.js";

/** One node of a tree. */
export interface TreeEntry<K, V> {
  readonly key: K;
  readonly value: V;
}

/**
 * A sorted tree as its nodes in order: their number, then key and value of each. Keys are numbers (`u64`) or structs.
 * Numbers ascend, so that none comes twice. QEMU: `VMSTATE_GTREE_V`, `VMSTATE_GTREE_DIRECT_KEY_V`.
 */
export function tree<K, V, N, M>(key: Field<K, N>, value: Field<V, M>): Field<TreeEntry<K, V>[], N & M> {
  checkElement("tree", key, true);
  checkElement("tree", value, true);
  return {
    type: "gtree",
    minimumBytes: 5,
    key,
    element: value,
    reads: [...(key.reads ?? []), ...(value.reads ?? [])],
    save(sink, entries, scope) {
      if (!Array.isArray(entries)) throw sink.place.error("VMSTATE_VALUE", "is no array of entries");
      sink.beginElements("counted", entries.length);
      let previous: unknown;
      for (const [i, entry] of (entries as TreeEntry<K, V>[]).entries()) {
        sink.place.enter(i);
        if (typeof entry !== "object" || entry === null) throw sink.place.error("VMSTATE_VALUE", "is no entry");
        if (!ascends(previous, entry.key)) throw sink.place.error("VMSTATE_VALUE", "keys must ascend");
        previous = entry.key;
        sink.element("counted");
        sink.beginStruct();
        sink.member("key");
        key.save(sink, entry.key, scope);
        sink.member("value");
        value.save(sink, entry.value, scope);
        sink.endStruct();
        sink.place.leave();
      }
      sink.endElements("counted");
    },
    load(source, scope) {
      const inner = { ...scope, local: undefined };
      const entries: TreeEntry<K, V>[] = [];
      const length = source.beginElements("counted", key.minimumBytes + value.minimumBytes, undefined);
      let previous: unknown;
      for (let i = 0; source.hasElement(); i++) {
        source.place.enter(i);
        source.element(i);
        source.beginStruct();
        source.member("key");
        const k = key.load(source, inner);
        if (!ascends(previous, k)) throw source.place.error("VMSTATE_INVALID", "keys must ascend");
        previous = k;
        source.member("value");
        entries.push({ key: k, value: value.load(source, inner) });
        source.endStruct();
        source.place.leave();
      }
      source.endElements("counted");
      if (length !== entries.length) {
        throw source.place.error(
          "VMSTATE_INVALID",
          `has ${entries.length} nodes, not the ${String(length)} it announced`,
        );
      }
      return entries;
    },
  };
}

function ascends(previous: unknown, key: unknown): boolean {
  const comparable = typeof key === "bigint" || typeof key === "number";
  return !comparable || previous === undefined || key > (previous as typeof key);
}
