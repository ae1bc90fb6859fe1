import type { Framing, IncomingSubsection, IntegerType, Source, WideType } from "../codec.js";
import { isInteger, isWide } from "../integer-range.js";
import type { Place } from "../place.js";
import { isText } from "../text-rule.js";
import { SUBSECTIONS_MEMBER, VERSION_MEMBER } from "./json-format.js";

/** A struct that is being read. */
interface StructFrame {
  readonly object: Readonly<Record<string, unknown>>;
  /** Members that were asked for, in a state with a version `$version` too. */
  readonly seen: string[];
  /** How many of them there are. */
  found: number;
  /** Subsections that were not read yet; undefined before the first was asked for. */
  subsections?: [name: string, value: unknown][];
}

/** Elements that are being read. */
interface ElementsFrame {
  readonly elements: readonly unknown[];
  /** Elements that were announced so far. */
  next: number;
}

const ABSENT = Symbol("absent");
/** Decimal digits of 64 bits, with a sign, as BigInt writes them. */
const WIDE = /^(?:0|-?[1-9]\d{0,19})$/;
const HEX = /^[0-9a-f]*$/;
/** The value of each hexadecimal digit, by its character code. */
const DIGITS = Uint8Array.from({ length: 128 }, (_, code) => Number.parseInt(String.fromCharCode(code), 16) || 0);

/** Counts a member as asked for; whether it is there. */
function note(frame: StructFrame, name: string): boolean {
  frame.seen.push(name);
  const there = Object.hasOwn(frame.object, name);
  if (there) frame.found++;
  return there;
}

/** Reads a state from a tree of JSON values that is not trusted. */
export class JsonSource implements Source {
  readonly place: Place;
  readonly #structs: StructFrame[] = [];
  readonly #arrays: ElementsFrame[] = [];
  #pending: unknown;
  #versioned = true;

  constructor(root: unknown, place: Place) {
    this.#pending = root;
    this.place = place;
  }

  #invalid(message: string): Error {
    return this.place.error("VMSTATE_INVALID", message);
  }

  #take(): unknown {
    const value = this.#pending;
    if (value === ABSENT) throw this.#invalid("is missing");
    return value;
  }

  integer(type: IntegerType): number {
    const value = this.#take();
    if (!isInteger(type, value)) throw this.#invalid(`is no ${type}`);
    return value;
  }

  wide(type: WideType): bigint {
    const value = this.#take();
    if (typeof value === "string" && WIDE.test(value)) {
      const wide = BigInt(value);
      if (isWide(type, wide)) return wide;
    }
    throw this.#invalid(`is no string with a ${type}`);
  }

  bool(): boolean {
    const value = this.#take();
    if (typeof value !== "boolean") throw this.#invalid("is no boolean");
    return value;
  }

  bytes(length: number): Uint8Array {
    const value = this.#take();
    if (typeof value !== "string" || value.length !== length * 2 || !HEX.test(value)) {
      throw this.#invalid(`is no string with ${length} bytes in hex`);
    }
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      bytes[i] = ((DIGITS[value.charCodeAt(i * 2)] as number) << 4) | (DIGITS[value.charCodeAt(i * 2 + 1)] as number);
    }
    return bytes;
  }

  text(): string {
    const value = this.#take();
    if (!isText(value)) throw this.#invalid("is no text of at most 255 bytes of UTF-8");
    return value;
  }

  nullPointer(expected: boolean): boolean {
    const absent = this.#take() === null;
    if (absent === expected) return absent;
    throw this.place.error("VMSTATE_MISMATCH", `is ${absent ? "null" : "there"}, but not so on this side`);
  }

  fd(): number {
    throw this.place.error("VMSTATE_FD", "JSON carries no descriptors");
  }

  beginStruct(): void {
    const object = this.#object(this.#take());
    const frame: StructFrame = { object, seen: [], found: 0 };
    this.#structs.push(frame);
    if (this.#versioned) note(frame, VERSION_MEMBER);
    note(frame, SUBSECTIONS_MEMBER);
    this.#versioned = false;
  }

  member(name: string): void {
    const frame = this.#structs.at(-1)!;
    this.#pending = note(frame, name) ? frame.object[name] : ABSENT;
  }

  endStruct(): void {
    const { object, seen, found } = this.#structs.pop()!;
    const names = Object.keys(object);
    if (names.length === found) return;
    const unknown = names.find((name) => !seen.includes(name));
    if (unknown !== undefined) throw this.#invalid(`has an unknown member ${JSON.stringify(unknown)}`);
  }

  beginElements(_framing: Framing, _minimumBytes: number, length: number | undefined): number {
    const elements = this.#take();
    if (!Array.isArray(elements)) throw this.#invalid("is no array");
    if (length !== undefined && elements.length !== length) {
      throw this.place.error("VMSTATE_COUNT", `has ${elements.length} elements, not ${length}`, {
        count: length,
        length: elements.length,
      });
    }
    this.#arrays.push({ elements, next: 0 });
    return elements.length;
  }

  hasElement(): boolean {
    const { elements, next } = this.#arrays.at(-1)!;
    return next < elements.length;
  }

  element(index: number): void {
    const frame = this.#arrays.at(-1)!;
    frame.next = index + 1;
    this.#pending = frame.elements[index];
  }

  endElements(): void {
    this.#arrays.pop();
  }

  nextSubsection(): IncomingSubsection | undefined {
    const frame = this.#structs.at(-1)!;
    if (!frame.subsections) {
      const given = Object.hasOwn(frame.object, SUBSECTIONS_MEMBER) ? frame.object[SUBSECTIONS_MEMBER] : {};
      frame.subsections = Object.entries(this.#object(given));
    }
    const [name, value] = frame.subsections.shift() ?? [];
    if (name === undefined) return undefined;
    this.#pending = value;
    this.#versioned = true;
    return { name, version: this.version() };
  }

  /** The version that the state or subsection which follows says it has. */
  version(): number {
    const object = this.#object(this.#take());
    const version = Object.hasOwn(object, VERSION_MEMBER) ? object[VERSION_MEMBER] : undefined;
    if (!isInteger("uint32", version)) throw this.#invalid(`${VERSION_MEMBER} is no uint32`);
    return version;
  }

  #object(value: unknown): Readonly<Record<string, unknown>> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.#invalid("is no object");
    return value as Readonly<Record<string, unknown>>;
  }

  // JSON has nothing for these.
  unused(): void {}
  endSubsection(): void {}
}
