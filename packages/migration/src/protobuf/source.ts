import { plainBytes } from "../vmstate/codec/plain-bytes.js";
import type {
  Framing,
  IncomingSubsection,
  IntegerType,
  Place,
  Source,
  VmstateDescriptor,
  WideType,
} from "../vmstate/index.js";
import { isInteger } from "../vmstate/integer-range.js";
import { isText } from "../vmstate/text-rule.js";
import {
  ABSENT_NUMBER,
  ELEMENT_NUMBER,
  END_NUMBER,
  FIRST_SUBSECTION,
  memberNumber,
  subsectionNumber,
  VERSION_NUMBER,
} from "./field-number.js";
import { readFields } from "./message.js";
import type { RawField } from "./unknown-fields.js";

/** A struct that is being read. */
interface StructFrame {
  readonly fields: Map<number, RawField>;
  readonly subsections: RawField[];
}

/** A sequence that is being read. */
interface ElementsFrame {
  readonly elements: readonly RawField[];
  readonly absent: ReadonlySet<number>;
  readonly length: number;
  /** Elements that were announced so far, and those of them that are there. */
  announced: number;
  taken: number;
}

const MISSING = Symbol("missing");
const ABSENT = Symbol("absent");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a state from messages that are not trusted. */
export class ProtobufSource implements Source {
  readonly place: Place;
  /** What the descriptors did not know, by the path of the struct. */
  readonly unknown = new Map<string, RawField[]>();
  readonly #root: Uint8Array;
  readonly #structs: StructFrame[] = [];
  readonly #sequences: ElementsFrame[] = [];
  #pending: RawField | typeof MISSING | typeof ABSENT = MISSING;
  /** The next struct has a version. */
  #versioned = true;

  constructor(bytes: Uint8Array, place: Place) {
    this.place = place;
    this.#root = plainBytes(bytes);
  }

  #invalid(message: string): Error {
    return this.place.error("VMSTATE_INVALID", message);
  }

  #take<W extends RawField["wire"]>(wire: W, what: string): Extract<RawField, { wire: W }> {
    const field = this.#pending;
    if (field === MISSING) throw this.#invalid("is missing");
    if (field === ABSENT) throw this.#invalid("is absent");
    if (field.wire !== wire) throw this.#invalid(`is no ${what}`);
    return field as Extract<RawField, { wire: W }>;
  }

  integer(type: IntegerType): number {
    const { low, high } = this.#take(0, type);
    const value = type.startsWith("u") ? low : (low >>> 1) ^ -(low & 1);
    if (high !== 0 || !isInteger(type, value)) throw this.#invalid(`is no ${type}`);
    return value;
  }

  wide(type: WideType): bigint {
    const { low, high } = this.#take(1, type);
    const value = (BigInt(high) << 32n) | BigInt(low);
    return type === "int64" ? BigInt.asIntN(64, value) : value;
  }

  bool(): boolean {
    const { low, high } = this.#take(0, "boolean");
    if (high !== 0 || low > 1) throw this.#invalid("is no boolean");
    return low === 1;
  }

  bytes(length: number): Uint8Array {
    const { bytes } = this.#take(2, `string of ${length} bytes`);
    if (bytes.length !== length) throw this.#invalid(`has ${bytes.length} bytes, not ${length}`);
    return bytes.slice();
  }

  text(): string {
    const { bytes } = this.#take(2, "text");
    let text: string | undefined;
    if (bytes.length <= 255) {
      try {
        text = utf8.decode(bytes);
      } catch {
        // Not UTF-8.
      }
    }
    if (!isText(text)) throw this.#invalid("is no text of at most 255 bytes of UTF-8");
    return text;
  }

  nullPointer(expected: boolean): boolean {
    const absent = this.#pending === ABSENT;
    if (absent === expected) return absent;
    throw this.place.error("VMSTATE_MISMATCH", `is ${absent ? "null" : "there"}, but not so on this side`);
  }

  fd(): number {
    throw this.place.error("VMSTATE_FD", "protobuf carries no descriptors");
  }

  beginStruct(): void {
    const isRoot = this.#structs.length === 0;
    const frame = this.#readStruct(isRoot ? this.#root : this.#take(2, "message").bytes);
    if (this.#versioned) frame.fields.delete(VERSION_NUMBER);
    this.#versioned = false;
    if (isRoot) {
      const end = frame.fields.get(END_NUMBER);
      if (end?.wire !== 0 || end.low !== 1 || end.high !== 0) {
        throw this.place.error("VMSTATE_TRUNCATED", "ends before the state does");
      }
      frame.fields.delete(END_NUMBER);
    }
    this.#structs.push(frame);
  }

  #readStruct(bytes: Uint8Array): StructFrame {
    const frame: StructFrame = { fields: new Map(), subsections: [] };
    for (const field of readFields(bytes, this.place)) {
      if (field.number >= FIRST_SUBSECTION) frame.subsections.push(field);
      else if (frame.fields.has(field.number)) throw this.#invalid(`has the field ${field.number} twice`);
      else frame.fields.set(field.number, field);
    }
    return frame;
  }

  member(name: string): void {
    const { fields } = this.#structs.at(-1)!;
    const number = memberNumber(name);
    this.#pending = fields.get(number) ?? MISSING;
    fields.delete(number);
  }

  endStruct(): void {
    const { fields } = this.#structs.pop()!;
    if (fields.size === 0) return;
    const own = [...fields.values()].map((field) =>
      field.wire === 2 ? { ...field, bytes: field.bytes.slice() } : field,
    );
    this.unknown.set(this.place.toString(), own);
  }

  beginElements(_framing: Framing, _minimumBytes: number, length: number | undefined): number {
    const elements: RawField[] = [];
    const absent = new Set<number>();
    for (const field of readFields(this.#take(2, "sequence").bytes, this.place)) {
      if (field.number === ELEMENT_NUMBER) elements.push(field);
      else if (field.number === ABSENT_NUMBER && field.wire === 2 && absent.size === 0) {
        for (const index of packed(field.bytes, this.place)) absent.add(index);
      } else throw this.#invalid(`has the field ${field.number} in a sequence`);
    }
    const count = elements.length + absent.size;
    if (length !== undefined && count !== length) {
      throw this.place.error("VMSTATE_COUNT", `has ${count} elements, not ${length}`, { count: length, length: count });
    }
    for (const index of absent) if (index >= count) throw this.#invalid(`has no element ${index} to be absent`);
    this.#sequences.push({ elements, absent, length: count, announced: 0, taken: 0 });
    return count;
  }

  hasElement(): boolean {
    const { announced, length } = this.#sequences.at(-1)!;
    return announced < length;
  }

  element(index: number): void {
    const frame = this.#sequences.at(-1)!;
    frame.announced = index + 1;
    this.#pending = frame.absent.has(index) ? ABSENT : (frame.elements[frame.taken++] ?? MISSING);
  }

  endElements(_framing: Framing): void {
    this.#sequences.pop();
  }

  nextSubsection(parent: VmstateDescriptor): IncomingSubsection | undefined {
    const { fields, subsections } = this.#structs.at(-1)!;
    const field = subsections.shift();
    if (field === undefined) {
      // Members that this version should not have are none of the unknown.
      for (const name of Object.keys(parent.fields)) fields.delete(memberNumber(name));
      return undefined;
    }
    const known = Object.values(parent.subsections).find(({ name }) => subsectionNumber(name) === field.number);
    this.#pending = field;
    this.#versioned = true;
    return {
      name: known?.name ?? `number ${field.number}`,
      version: versionOf(this.#take(2, "message").bytes, this.place),
    };
  }

  /** The version that the whole state says it has. */
  version(): number {
    return versionOf(this.#root, this.place);
  }

  // Protobuf has nothing for these.
  unused(): void {}
  endSubsection(): void {}
}

function versionOf(bytes: Uint8Array, place: Place): number {
  for (const field of readFields(bytes, place)) {
    if (field.number === VERSION_NUMBER && field.wire === 0 && field.high === 0) return field.low;
  }
  throw place.error("VMSTATE_INVALID", "has no version");
}

/** The numbers of a packed field, ascending. */
function packed(bytes: Uint8Array, place: Place): number[] {
  const values: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte >= 0x80) {
      if (scale > 2 ** 28) break;
      continue;
    }
    if (values.length > 0 && value <= (values.at(-1) as number)) break;
    values.push(value);
    value = 0;
    scale = 1;
  }
  if (scale !== 1 || value !== 0) throw place.error("VMSTATE_INVALID", "has absent elements out of order");
  return values;
}
