import { Place, type VmstateDescriptor } from "../vmstate/index.js";

/** The version of a state or subsection. */
export const VERSION_NUMBER = 1;
/** Stands at the end of a whole state: what was cut off is seen by its absence. */
export const END_NUMBER = 2;
/** The elements of a sequence, which is a message of its own. */
export const ELEMENT_NUMBER = 1;
/** The places of elements that are absent. */
export const ABSENT_NUMBER = 2;

const FIRST_MEMBER = 16;
const MEMBERS = 2 ** 25 - FIRST_MEMBER - 1000;
/** Numbers that protobuf keeps for itself. */
const RESERVED = { from: 19_000, count: 1000 };
/** Subsections have the numbers from here on, so that an unknown one is told from an unknown member. */
export const FIRST_SUBSECTION = 2 ** 25;
const SUBSECTIONS = 2 ** 28;

const members = new Map<string, number>();
const subsections = new Map<string, number>();

/** FNV-1a, of 32 bits. */
function hash(name: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}

function numberOf(name: string, known: Map<string, number>, make: () => number): number {
  const before = known.get(name);
  if (before !== undefined) return before;
  const number = make();
  known.set(name, number);
  return number;
}

/** The number of a member: it follows from the name, so that no change of other members changes it. */
export function memberNumber(name: string): number {
  return numberOf(name, members, () => {
    const number = FIRST_MEMBER + (hash(name) % MEMBERS);
    return number < RESERVED.from ? number : number + RESERVED.count;
  });
}

/** The number of a subsection. */
export function subsectionNumber(name: string): number {
  return numberOf(name, subsections, () => FIRST_SUBSECTION + (hash(name) % SUBSECTIONS));
}

const checked = new WeakSet<VmstateDescriptor>();

/** Throws `VMSTATE_DESCRIPTOR` where two names of a descriptor, or of one within it, give the same number. */
export function checkNumbers(descriptor: VmstateDescriptor): void {
  if (checked.has(descriptor)) return;
  checked.add(descriptor);
  const names = new Map<number, string>();
  const enter = (number: number, name: string) => {
    const other = names.get(number);
    if (other !== undefined) {
      const problem = `'${name}' and '${other}' have the same protobuf number, ${number}: one needs another name`;
      throw new Place(descriptor.name).error("VMSTATE_DESCRIPTOR", problem, { number });
    }
    names.set(number, name);
  };
  for (const [name, field] of Object.entries(descriptor.fields)) {
    enter(memberNumber(name), name);
    for (const inner of [field.struct, field.key?.struct, field.element?.struct]) if (inner) checkNumbers(inner);
  }
  for (const sub of Object.values(descriptor.subsections)) {
    enter(subsectionNumber(sub.name), sub.name);
    checkNumbers(sub);
  }
}
