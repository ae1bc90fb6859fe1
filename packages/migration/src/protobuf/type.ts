import protobuf from "protobufjs/light.js";
import type { Field, VmstateDescriptor } from "../vmstate/index.js";
import {
  ABSENT_NUMBER,
  checkNumbers,
  ELEMENT_NUMBER,
  END_NUMBER,
  memberNumber,
  subsectionNumber,
  VERSION_NUMBER,
} from "./field-number.js";

type AnyField = Field<unknown, never>;

const SCALARS: Readonly<Record<string, string>> = {
  uint8: "uint32",
  uint16: "uint32",
  uint32: "uint32",
  int8: "sint32",
  int16: "sint32",
  int32: "sint32",
  uint64: "fixed64",
  int64: "sfixed64",
  timer: "fixed64",
  float64: "fixed64",
  bool: "bool",
  buffer: "bytes",
  str: "string",
};

/**
 * The message of a descriptor, by protobufjs' reflection: for programs that read states, or write them, without Baton.
 * `type.toJSON()` is its description; `protobufjs-cli` makes a `.proto` file of that.
 */
export function protobufType(descriptor: VmstateDescriptor): protobuf.Type {
  checkNumbers(descriptor);
  const root = new protobuf.Root();
  const type = messageOf(descriptor, root, new Map(), true);
  root.resolveAll();
  return type;
}

function messageOf(
  descriptor: VmstateDescriptor,
  root: protobuf.Root,
  known: Map<VmstateDescriptor, protobuf.Type>,
  whole: boolean,
): protobuf.Type {
  const before = known.get(descriptor);
  if (before !== undefined) return before;
  const type = new protobuf.Type(freeName(descriptor.name, root));
  known.set(descriptor, type);
  root.add(type);
  type.add(new protobuf.Field("_version", VERSION_NUMBER, "uint32"));
  if (whole) type.add(new protobuf.Field("_end", END_NUMBER, "bool"));
  for (const [name, field] of Object.entries(descriptor.fields)) {
    if ("silent" in field) continue;
    type.add(new protobuf.Field(name, memberNumber(name), typeOf(field, `${type.name}_${name}`, root, known)));
  }
  for (const [name, sub] of Object.entries(descriptor.subsections)) {
    type.add(new protobuf.Field(name, subsectionNumber(sub.name), messageOf(sub, root, known, false).name));
  }
  return type;
}

/** The name of the type that carries a field. */
function typeOf(
  field: AnyField,
  path: string,
  root: protobuf.Root,
  known: Map<VmstateDescriptor, protobuf.Type>,
): string {
  if (field.element !== undefined || field.type === "bitmap") {
    const sequence = new protobuf.Type(freeName(path, root));
    root.add(sequence);
    const inner = `${path}_element`;
    let element = "fixed64";
    if (field.key !== undefined && field.element !== undefined) {
      const node = new protobuf.Type(freeName(inner, root));
      root.add(node);
      node.add(new protobuf.Field("key", memberNumber("key"), typeOf(field.key, `${inner}_key`, root, known)));
      node.add(
        new protobuf.Field("value", memberNumber("value"), typeOf(field.element, `${inner}_value`, root, known)),
      );
      element = node.name;
    } else if (field.element !== undefined) element = typeOf(field.element, inner, root, known);
    sequence.add(new protobuf.Field("element", ELEMENT_NUMBER, element, "repeated", undefined, { packed: false }));
    if (field.nullable)
      sequence.add(new protobuf.Field("absent", ABSENT_NUMBER, "uint32", "repeated", undefined, { packed: true }));
    return sequence.name;
  }
  if (field.struct !== undefined) return messageOf(field.struct, root, known, false).name;
  return SCALARS[field.type.replace(/ (equal|le)$/, "")] ?? "bytes";
}

/** A name that protobuf allows, and that nothing else has. */
function freeName(name: string, root: protobuf.Root): string {
  const base = `S_${name.replace(/[^A-Za-z0-9_]/g, "_")}`.replace(/^S_S_/, "S_");
  let free = base;
  for (let i = 2; root.get(free) !== null; i++) free = `${base}_${i}`;
  return free;
}
