import type { Place } from "../vmstate/index.js";
import type { RawField } from "./unknown-fields.js";

/** Reads the fields of a message that is not trusted, each with its value, without a copy. Throws `VMSTATE_TRUNCATED` or `VMSTATE_INVALID`. */
export function* readFields(bytes: Uint8Array, place: Place): Generator<RawField, void, undefined> {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const need = (count: number) => {
    if (bytes.length - at < count) {
      throw place.error("VMSTATE_TRUNCATED", `ends within a field: ${count} bytes needed, ${bytes.length - at} left`);
    }
  };
  /** A varint of up to 64 bits, in halves. */
  const varint = (): { low: number; high: number } => {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      need(1);
      const byte = bytes[at++] as number;
      const part = byte & 0x7f;
      if (shift === 63 && part > 1) break;
      if (shift < 32) low = (low | (part << shift)) >>> 0;
      if (shift > 25) high = (high | (shift < 32 ? part >>> (32 - shift) : part << (shift - 32))) >>> 0;
      if (byte < 0x80) return { low, high };
    }
    throw place.error("VMSTATE_INVALID", "has a number of more than 64 bits");
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = tag.low >>> 3;
    const wire = tag.low & 7;
    if (tag.high !== 0 || number === 0) throw place.error("VMSTATE_INVALID", "has a field with no valid number");
    if (wire === 0) yield { number, wire, ...varint() };
    else if (wire === 1) {
      need(8);
      yield { number, wire, low: data.getUint32(at, true), high: data.getUint32(at + 4, true) };
      at += 8;
    } else if (wire === 2) {
      const length = varint();
      if (length.high !== 0) throw place.error("VMSTATE_INVALID", "has a field of more than 4 GiB");
      need(length.low);
      yield { number, wire, bytes: bytes.subarray(at, at + length.low) };
      at += length.low;
    } else if (wire === 5) {
      need(4);
      yield { number, wire, low: data.getUint32(at, true) };
      at += 4;
    } else throw place.error("VMSTATE_INVALID", `has a field of the unknown wire type ${wire}`);
  }
}
