import { hexText } from "../../hex.js";
import type { IntegerType, Sink, WideType } from "../codec.js";
import type { Place } from "../place.js";
import { type JsonValue, SUBSECTIONS_MEMBER, VERSION_MEMBER } from "./json-format.js";

type JsonObject = { [name: string]: JsonValue };

/** Makes a tree of JSON values of a state. */
export class JsonSink implements Sink {
  readonly place: Place;
  /** The structs and arrays around the next value, the innermost last. */
  readonly #open: (JsonObject | JsonValue[])[] = [];
  #member = "";
  /** The next struct is a subsection's, or the root, and says its version. */
  #version: number | undefined;
  #root: JsonValue = null;

  constructor(place: Place, version: number) {
    this.place = place;
    this.#version = version;
  }

  /** The state, once it is written. */
  get root(): JsonValue {
    return this.#root;
  }

  #put(value: JsonValue): void {
    const parent = this.#open.at(-1);
    if (parent === undefined) this.#root = value;
    else if (Array.isArray(parent)) parent.push(value);
    else parent[this.#member] = value;
  }

  integer(_type: IntegerType, value: number): void {
    this.#put(value);
  }

  wide(_type: WideType, value: bigint): void {
    this.#put(String(value));
  }

  bool(value: boolean): void {
    this.#put(value);
  }

  bytes(value: Uint8Array): void {
    this.#put(hexText(value));
  }

  text(value: string): void {
    this.#put(value);
  }

  nullPointer(): void {
    this.#put(null);
  }

  fd(): void {
    throw this.place.error("VMSTATE_FD", "JSON carries no descriptors");
  }

  beginStruct(): void {
    const struct: JsonObject = this.#version === undefined ? {} : { [VERSION_MEMBER]: this.#version };
    this.#version = undefined;
    this.#put(struct);
    this.#open.push(struct);
  }

  member(name: string): void {
    this.#member = name;
  }

  endStruct(): void {
    this.#open.pop();
  }

  beginElements(): void {
    const elements: JsonValue[] = [];
    this.#put(elements);
    this.#open.push(elements);
  }

  endElements(): void {
    this.#open.pop();
  }

  beginSubsection(name: string, version: number): void {
    const struct = this.#open.at(-1) as JsonObject;
    struct[SUBSECTIONS_MEMBER] ??= {};
    this.#open.push(struct[SUBSECTIONS_MEMBER] as JsonObject);
    this.#member = name;
    this.#version = version;
  }

  endSubsection(): void {
    this.#open.pop();
  }

  // JSON needs nothing for these.
  unused(): void {}
  element(): void {}
}
