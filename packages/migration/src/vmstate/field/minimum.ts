import type { VmstateDescriptor } from "../descriptor.js";

/** The fewest bytes that a state of this version takes. Fields whose existence depends on the state count as none. */
export function minimumBytesOf(descriptor: VmstateDescriptor, version: number): number {
  let sum = 0;
  for (const field of Object.values(descriptor.fields)) {
    if (field.since !== undefined ? field.since <= version : field.exists === undefined) sum += field.minimumBytes;
  }
  return sum;
}
