import type { VmstateDescriptor } from "./descriptor.js";
import type { Field } from "./field.js";
import { isInteger } from "./integer-range.js";
import { Place } from "./place.js";

/** Names that go to one `u8` length in streams. */
const NAME_BYTES = 255;
/** JavaScript orders keys that look like indices before all others, which would change the stream. */
const INDEX = /^\d/;

/** Throws `VMSTATE_DESCRIPTOR` for what streams cannot carry or would read back as something else. */
export function checkDescriptor(descriptor: VmstateDescriptor): void {
  const place = new Place(descriptor.name);
  const refuse = (message: string, details?: Readonly<Record<string, unknown>>) =>
    place.error("VMSTATE_DESCRIPTOR", message, details);

  checkName(descriptor.name, refuse);
  const { version, minimumVersion } = descriptor;
  if (!isInteger("uint32", version) || !isInteger("uint32", minimumVersion) || minimumVersion > version) {
    throw refuse(`versions ${minimumVersion} to ${version} are no range of u32`, { version, minimumVersion });
  }
  const members = new Set<string>();
  for (const [name, field] of Object.entries(descriptor.fields)) {
    place.enter(name);
    checkMember(name, refuse);
    for (const other of field.reads ?? []) {
      if (!members.has(other)) throw refuse(`it reads ${other}, which does not stand before it`, { reads: other });
    }
    if (field.since !== undefined && !(field.since <= version)) {
      throw refuse(`it comes with version ${field.since}, which is never written`, { since: field.since });
    }
    members.add(name);
    place.leave();
  }
  const names = new Set<string>();
  for (const [key, sub] of Object.entries(descriptor.subsections)) {
    place.enter(key);
    checkMember(key, refuse);
    if (members.has(key)) throw refuse("a field has the same name");
    if (!sub.name.startsWith(descriptor.name) || sub.name === descriptor.name) {
      throw refuse(`a subsection's name must start with its parent's and be longer, ${sub.name} is not`);
    }
    if (names.has(sub.name)) throw refuse(`two subsections are called ${sub.name}`);
    names.add(sub.name);
    place.leave();
  }
  checkTail(descriptor, refuse);
}

type Refuse = (message: string, details?: Readonly<Record<string, unknown>>) => Error;

function checkName(name: string, refuse: Refuse): void {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes === 0 || bytes > NAME_BYTES || name === "__proto__")
    throw refuse(`a name has 1 to ${NAME_BYTES} bytes and is not __proto__`);
}

function checkMember(name: string, refuse: Refuse): void {
  if (name === "" || name === "__proto__" || name.startsWith("$") || INDEX.test(name)) {
    throw refuse("a member's name is not empty, nor __proto__, nor starts with $ or a digit");
  }
}

/**
 * A struct at the end of the fields reads subsections first, and takes every name that starts with its own for its own.
 * So no subsection of the parent may start with the struct's name.
 */
function checkTail(descriptor: VmstateDescriptor, refuse: Refuse): void {
  const fields = Object.values(descriptor.fields) as Field<unknown, never>[];
  let tail = fields.at(-1);
  while (tail?.struct && tail.endsWithStruct) {
    const inner = tail.struct;
    for (const sub of Object.values(descriptor.subsections)) {
      if (sub.name.length > inner.name.length && sub.name.startsWith(inner.name)) {
        throw refuse(`subsection ${sub.name} would be read as one of ${inner.name}, which ends the fields`);
      }
    }
    tail = Object.values(inner.fields).at(-1);
  }
}
