import type { VmstateDescriptor } from "./descriptor.js";
import type { Count } from "./field/count.js";
import type { Field } from "./field.js";

/** A field, by the names of QEMU's `-dump-vmstate`, with `type`, `count` and `elements` beside them. */
export interface FieldSchema {
  readonly field: string;
  /** The version of the struct that it came with. */
  readonly version_id: number;
  /** Whether the state decides if it is there. */
  readonly field_exists: boolean;
  /** Bytes of one element, the fewest that it takes. */
  readonly size: number;
  /** The encoding, as in `uint32`. */
  readonly type: string;
  /** How many elements, bytes or bits: a number, or the member that says it. */
  readonly count?: number | string;
  /** What elements are, and keys, where these are no structs. */
  readonly elements?: FieldSchema;
  readonly keys?: FieldSchema;
  readonly Description?: DescriptorSchema;
  /** The version that a struct is always written as, where that is not its own. */
  readonly struct_version_id?: number;
}

/** A state, by the names of QEMU's `-dump-vmstate`. */
export interface DescriptorSchema {
  readonly vmsd_name: string;
  readonly version_id: number;
  readonly minimum_version_id: number;
  readonly Fields: readonly FieldSchema[];
  readonly Subsections?: readonly DescriptorSchema[];
}

/** A kind of section. */
export interface SectionSchema {
  readonly Name: string;
  readonly version_id: number;
  readonly minimum_version_id: number;
  readonly Description: DescriptorSchema;
}

/** All kinds of sections that a program writes, by name: what QEMU's `-dump-vmstate` writes as JSON. */
export type VmstateSchema = Readonly<Record<string, SectionSchema>>;

/** The schema of the states that these describe. */
export function vmstateSchema(descriptors: Iterable<VmstateDescriptor>): VmstateSchema {
  const sections: Record<string, SectionSchema> = {};
  for (const descriptor of descriptors) {
    sections[descriptor.name] = {
      Name: descriptor.name,
      version_id: descriptor.version,
      minimum_version_id: descriptor.minimumVersion,
      Description: descriptorSchema(descriptor),
    };
  }
  return sections;
}

function descriptorSchema(descriptor: VmstateDescriptor): DescriptorSchema {
  const subsections = Object.values(descriptor.subsections);
  return {
    vmsd_name: descriptor.name,
    version_id: descriptor.version,
    minimum_version_id: descriptor.minimumVersion,
    Fields: Object.entries(descriptor.fields).map(([name, field]) => fieldSchema(field.streamName ?? name, field)),
    ...(subsections.length > 0 && { Subsections: subsections.map(descriptorSchema) }),
  };
}

function fieldSchema(name: string, field: Field<unknown, never>): FieldSchema {
  const { element, key, struct, since } = field;
  const inner = element ?? field;
  return {
    field: name,
    version_id: since ?? 0,
    field_exists: field.exists !== undefined && since === undefined,
    size: inner.minimumBytes,
    type: field.nullable ? `${field.type} or null` : field.type,
    ...(field.count !== undefined && { count: countText(field.count) }),
    ...(element !== undefined && element.struct === undefined && { elements: fieldSchema("", element) }),
    ...(key !== undefined && { keys: fieldSchema("", key) }),
    ...(inner.structVersion !== undefined && { struct_version_id: inner.structVersion }),
    ...((struct ?? element?.struct)
      ? { Description: descriptorSchema((struct ?? element?.struct) as VmstateDescriptor) }
      : {}),
  };
}

function countText(count: Count): number | string {
  if (typeof count !== "object") return count;
  return `${count.times} * ${count.of}`;
}
