import type { VmstateDescriptor } from "./descriptor.js";
import type { Field } from "./field.js";

/** One field of a descriptor, as saving and loading walk it. */
export interface Member {
  readonly name: string;
  readonly field: Field<unknown, never>;
  readonly silent: boolean;
}

/** A descriptor taken apart. */
export interface Members {
  readonly fields: readonly Member[];
  readonly subsections: readonly (readonly [name: string, descriptor: VmstateDescriptor])[];
}

const taken = new WeakMap<VmstateDescriptor, Members>();

/** The members of a descriptor; taken apart once, since states hold thousands of structs. */
export function membersOf(descriptor: VmstateDescriptor): Members {
  const known = taken.get(descriptor);
  if (known !== undefined) return known;
  const members: Members = {
    fields: Object.entries(descriptor.fields).map(([name, field]) => ({ name, field, silent: "silent" in field })),
    subsections: Object.entries(descriptor.subsections),
  };
  taken.set(descriptor, members);
  return members;
}
