import type { Field } from "../field.js";
import { type Count, type CountNeeds, countReads, loadCount, saveCount } from "./count.js";

const WORD_BITS = 64;

/**
 * A bitmap in 64-bit words, the lowest bits in the first word; bits past the end are zero. `bits` is their number, or
 * the earlier member with it. QEMU: `VMSTATE_BITMAP`.
 */
export function bitmap<const C extends Count>(bits: C): Field<BigUint64Array, CountNeeds<C>> {
  return {
    type: "bitmap",
    minimumBytes: typeof bits === "number" ? Math.ceil(bits / WORD_BITS) * 8 : 0,
    count: bits,
    reads: countReads(bits),
    save(sink, value, scope) {
      const total = saveCount(bits, scope, sink);
      const words = Math.ceil(total / WORD_BITS);
      if (!(value instanceof BigUint64Array) || value.length !== words) {
        throw sink.place.error("VMSTATE_VALUE", `is no BigUint64Array of ${words} words`);
      }
      if (hasStrayBits(value, total)) throw sink.place.error("VMSTATE_VALUE", `has bits past its ${total}`);
      sink.beginElements("plain", words);
      for (const word of value) {
        sink.element("plain");
        sink.wide("uint64", word);
      }
      sink.endElements("plain");
    },
    load(source, scope) {
      const total = loadCount(bits, scope, source);
      const words = Math.ceil(total / WORD_BITS);
      source.beginElements("plain", 8, words);
      const value = new BigUint64Array(words);
      for (let i = 0; i < words; i++) {
        source.element(i);
        value[i] = source.wide("uint64");
      }
      source.endElements("plain");
      if (hasStrayBits(value, total)) throw source.place.error("VMSTATE_INVALID", `has bits past its ${total}`);
      return value;
    },
  };
}

function hasStrayBits(words: BigUint64Array, bits: number): boolean {
  const used = bits % WORD_BITS;
  return used !== 0 && words[words.length - 1]! >> BigInt(used) !== 0n;
}
