import { QemuSink } from "../vmstate/codec/qemu-sink.js";
import type { ByteWriter, Field, Framing, IntegerType, Sink, VmstateDescriptor, WideType } from "../vmstate/index.js";
import type { Place } from "../vmstate/place.js";
import type { DescribedField, DescribedState } from "./description.js";
import { LONGEST_NAME } from "./format.js";

interface OpenState {
  readonly state: { vmsd_name: string; version: number; fields: DescribedField[]; subsections?: DescribedState[] };
  /** What its members are called. */
  readonly names: ReadonlyMap<string, string>;
  readonly from: number;
  member: OpenMember | undefined;
}

interface OpenMember {
  readonly name: string;
  readonly type: string;
  readonly compressible: boolean;
  /** An array: its elements are described one by one. */
  readonly array: boolean;
  readonly from: number;
  /** Where the present element starts. */
  element: number;
  readonly elements: Shape[];
  struct: DescribedState | undefined;
  nothing: boolean;
}

interface Shape {
  readonly type: string;
  readonly size: number;
  readonly struct?: DescribedState | undefined;
}

/** Encodings whose elements are no concern of a description. */
const WHOLE = new Set(["bitmap", "qlist", "qtailq", "gtree", "tmp"]);

/** Writes a state like {@link QemuSink} and describes what it wrote. QEMU: migration/vmstate.c `vmsd_desc_field_start`. */
export class DescribingSink implements Sink {
  readonly place: Place;
  readonly #sink: QemuSink;
  readonly #writer: ByteWriter;
  readonly #open: OpenState[] = [];
  /** Within a field that is described as a whole. */
  #whole = 0;
  /** The state that was described last. */
  #done: DescribedState | undefined;

  constructor(writer: ByteWriter, place: Place) {
    this.#sink = new QemuSink(writer, place);
    this.#writer = writer;
    this.place = place;
  }

  /** What was written. */
  get description(): DescribedState {
    if (!this.#done) throw new Error("nothing was described");
    return this.#done;
  }

  #value(): void {
    const state = this.#open.at(-1);
    if (this.#whole === 0 && state?.member) state.member.nothing = false;
  }

  integer(type: IntegerType, value: number): void {
    this.#sink.integer(type, value);
    this.#value();
  }

  wide(type: WideType, value: bigint): void {
    this.#sink.wide(type, value);
    this.#value();
  }

  bool(value: boolean): void {
    this.#sink.bool(value);
    this.#value();
  }

  bytes(value: Uint8Array): void {
    this.#sink.bytes(value);
    this.#value();
  }

  text(value: string): void {
    this.#sink.text(value);
    this.#value();
  }

  unused(length: number): void {
    this.#sink.unused(length);
    this.#value();
  }

  nullPointer(): void {
    this.#sink.nullPointer();
    const member = this.#open.at(-1)?.member;
    if (this.#whole > 0 || !member) return;
    member.nothing = false;
    member.struct = undefined;
    this.#nullElement = true;
  }

  #nullElement = false;

  fd(fd: number): void {
    this.#sink.fd(fd);
    this.#value();
  }

  beginStruct(descriptor?: VmstateDescriptor, version = 0): void {
    if (this.#whole > 0 || !descriptor) {
      this.#whole++;
      return;
    }
    if (this.#open.at(-1)?.member?.type === "tmp") {
      this.#whole++;
      return;
    }
    const state = { vmsd_name: descriptor.name, version, fields: [] };
    this.#open.push({ state, names: streamNames(descriptor), from: this.#writer.length, member: undefined });
  }

  member(name: string, field?: Field<unknown, never>): void {
    if (this.#whole > 0) return;
    this.#endMember();
    const state = this.#open.at(-1);
    if (!state || !field) return;
    state.member = {
      name: state.names.get(name) ?? name,
      type: field.type,
      compressible: isCompressible(field),
      array: false,
      from: this.#writer.length,
      element: this.#writer.length,
      elements: [],
      struct: undefined,
      nothing: true,
    };
  }

  endStruct(): void {
    if (this.#whole > 0) {
      this.#whole--;
      if (this.#whole === 0) this.#value();
      return;
    }
    this.#endMember();
    const { state } = this.#open.pop() as OpenState;
    this.#done = state;
    const parent = this.#open.at(-1);
    if (!parent) return;
    if (parent.member) {
      parent.member.struct = state;
      parent.member.nothing = false;
    }
  }

  beginElements(framing: Framing, length: number): void {
    this.#sink.beginElements(framing, length);
    const state = this.#open.at(-1);
    if (this.#whole > 0 || !state?.member) {
      if (this.#whole > 0) this.#whole++;
      return;
    }
    if (framing !== "plain" || WHOLE.has(state.member.type)) {
      this.#whole++;
      return;
    }
    if (!state.member.array) state.member = { ...state.member, array: true };
  }

  element(framing: Framing): void {
    this.#sink.element(framing);
    if (this.#whole === 0) this.#endElement();
  }

  endElements(framing: Framing): void {
    this.#sink.endElements(framing);
    if (this.#whole > 0) {
      this.#whole--;
      if (this.#whole === 0) this.#value();
      return;
    }
    this.#endElement();
  }

  beginSubsection(name: string, version: number): void {
    if (this.#whole === 0) this.#endMember();
    if (Buffer.byteLength(name) > LONGEST_NAME) {
      throw this.place.error(
        "VMSTATE_VALUE",
        `a subsection's name has at most ${LONGEST_NAME} bytes, ${name} has more`,
      );
    }
    this.#sink.beginSubsection(name, version);
  }

  endSubsection(): void {
    if (this.#whole > 0) return;
    const state = this.#open.at(-1)?.state;
    if (!state || !this.#done) return;
    state.subsections ??= [];
    state.subsections.push(this.#done);
  }

  /** Ends an element of an array. */
  #endElement(): void {
    const member = this.#open.at(-1)?.member;
    if (!member || member.nothing) return;
    const size = this.#writer.length - member.element;
    member.elements.push({ type: this.#nullElement ? "nullptr" : member.type, size, struct: member.struct });
    member.element = this.#writer.length;
    member.struct = undefined;
    member.nothing = true;
    this.#nullElement = false;
  }

  #endMember(): void {
    const state = this.#open.at(-1);
    const member = state?.member;
    if (!state || !member) return;
    state.member = undefined;
    const { fields } = state.state;
    if (!member.array) {
      if (member.nothing) return;
      fields.push(described(member.name, { ...member, size: this.#writer.length - member.from }));
      return;
    }
    const [first] = member.elements;
    if (!first) return;
    if (member.elements.length === 1) {
      fields.push(described(member.name, first));
    } else if (member.compressible && sameShapes(member.elements)) {
      fields.push(described(member.name, first, { array_len: member.elements.length }));
    } else {
      for (const [index, shape] of member.elements.entries()) fields.push(described(member.name, shape, { index }));
    }
  }
}

/** The names of members in a description: those that several have are numbered. QEMU: `vmfield_name_num`. */
function streamNames(descriptor: VmstateDescriptor): ReadonlyMap<string, string> {
  const keys = new Map<string, string[]>();
  for (const [key, field] of Object.entries(descriptor.fields) as [string, Field<unknown, never>][]) {
    const name = field.streamName ?? key;
    keys.set(name, [...(keys.get(name) ?? []), key]);
  }
  return new Map(
    [...keys].flatMap(([name, [...members]]) =>
      members.map((key, i): [string, string] => [key, members.length === 1 ? name : `${name}[${i}]`]),
    ),
  );
}

function described(name: string, shape: Shape, place: { index?: number; array_len?: number } = {}): DescribedField {
  const { type, struct, size } = shape;
  return { name, ...place, type, ...(struct ? { struct } : {}), size };
}

function sameShapes(shapes: readonly Shape[]): boolean {
  const [first, ...rest] = shapes.map((shape) => JSON.stringify([shape.type, shape.size, shape.struct]));
  return rest.every((shape) => shape === first);
}

/** Whether every element looks alike whatever its values. QEMU: `vmsd_can_compress`. */
function isCompressible(field: Field<unknown, never>): boolean {
  if (field.exists && field.since === undefined) return false;
  if (!field.struct) return true;
  if (Object.keys(field.struct.subsections).length > 0) return false;
  return (Object.values(field.struct.fields) as Field<unknown, never>[]).every(isCompressible);
}
