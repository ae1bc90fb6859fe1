import protobuf from "protobufjs/minimal.js";
import type { Framing, IntegerType, Place, Sink, WideType } from "../vmstate/index.js";
import {
  ABSENT_NUMBER,
  ELEMENT_NUMBER,
  END_NUMBER,
  memberNumber,
  subsectionNumber,
  VERSION_NUMBER,
} from "./field-number.js";
import { type UnknownFields, writeRaw } from "./unknown-fields.js";

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

/** Elements that are being written. */
interface Elements {
  /** The number of the element that follows, from 0. */
  index: number;
  readonly absent: number[];
}

/** Writes a state as messages: a struct is one, and so is a sequence. */
export class ProtobufSink implements Sink {
  readonly place: Place;
  readonly #writer: protobuf.Writer = protobuf.Writer.create();
  readonly #unknown: UnknownFields | undefined;
  /** The structs (null) and sequences around the next value, the innermost last. */
  readonly #open: (Elements | null)[] = [];
  #number = 0;
  /** The next struct is a subsection's, or the root, and says its version. */
  #version: number | undefined;

  constructor(place: Place, version: number, unknown: UnknownFields | undefined) {
    this.place = place;
    this.#version = version;
    this.#unknown = unknown;
  }

  /** The bytes, once the state is written. */
  finish(): Uint8Array {
    // protobufjs gives a Buffer that shares its memory with others.
    return new Uint8Array(this.#writer.finish());
  }

  #tag(wire: number): protobuf.Writer {
    return this.#writer.uint32(((this.#number << 3) | wire) >>> 0);
  }

  integer(type: IntegerType, value: number): void {
    if (type.startsWith("u")) this.#tag(VARINT).uint32(value);
    else this.#tag(VARINT).sint32(value);
  }

  wide(_type: WideType, value: bigint): void {
    this.#tag(FIXED64)
      .fixed32(Number(value & 0xffff_ffffn))
      .fixed32(Number((value >> 32n) & 0xffff_ffffn));
  }

  bool(value: boolean): void {
    this.#tag(VARINT).bool(value);
  }

  bytes(value: Uint8Array): void {
    this.#tag(BYTES).bytes(value);
  }

  text(value: string): void {
    this.#tag(BYTES).string(value);
  }

  nullPointer(): void {
    const elements = this.#open.at(-1);
    if (elements) elements.absent.push(elements.index - 1);
  }

  fd(): void {
    throw this.place.error("VMSTATE_FD", "protobuf carries no descriptors");
  }

  beginStruct(): void {
    if (this.#open.length > 0) this.#tag(BYTES).fork();
    this.#open.push(null);
    if (this.#version === undefined) return;
    this.#writer.uint32((VERSION_NUMBER << 3) | VARINT).uint32(this.#version);
    this.#version = undefined;
  }

  member(name: string): void {
    this.#number = memberNumber(name);
  }

  endStruct(): void {
    this.#open.pop();
    for (const field of this.#unknown?.get(this.place.toString()) ?? []) writeRaw(this.#writer, field);
    if (this.#open.length > 0) this.#writer.ldelim();
    else this.#writer.uint32((END_NUMBER << 3) | VARINT).bool(true);
  }

  beginElements(_framing: Framing): void {
    this.#tag(BYTES).fork();
    this.#open.push({ index: 0, absent: [] });
  }

  element(_framing: Framing): void {
    const elements = this.#open.at(-1) as Elements;
    elements.index++;
    this.#number = ELEMENT_NUMBER;
  }

  endElements(_framing: Framing): void {
    const { absent } = this.#open.pop() as Elements;
    if (absent.length > 0) {
      this.#writer.uint32((ABSENT_NUMBER << 3) | BYTES).fork();
      for (const index of absent) this.#writer.uint32(index);
      this.#writer.ldelim();
    }
    this.#writer.ldelim();
  }

  beginSubsection(name: string, version: number): void {
    this.#number = subsectionNumber(name);
    this.#version = version;
  }

  // Protobuf needs nothing for these.
  unused(): void {}
  endSubsection(): void {}
}
