import type { Sink } from "./codec.js";
import type { VmstateDescriptor } from "./descriptor.js";
import { callHook } from "./hook.js";
import { membersOf } from "./members.js";

/** Whether a state is written at all. */
export function isNeeded(descriptor: VmstateDescriptor, state: unknown): boolean {
  return descriptor.needed?.(state) ?? true;
}

/**
 * Writes a state as `version`: pre-save hook, fields, subsections, post-save hook. The post-save hook runs after
 * failures too, and its own error counts only if nothing failed before.
 */
export function saveState(
  sink: Sink,
  descriptor: VmstateDescriptor,
  state: unknown,
  version = descriptor.version,
): void {
  if (descriptor.unmigratable) {
    throw sink.place.error("VMSTATE_UNMIGRATABLE", `State blocked by non-migratable device '${descriptor.name}'`);
  }
  checkObject(sink, state);
  const prepared = descriptor.preSave
    ? (callHook(sink.place, "pre-save", () => descriptor.preSave?.(state)) ?? state)
    : state;
  let failed = true;
  try {
    checkObject(sink, prepared);
    saveMembers(sink, descriptor, prepared, version);
    failed = false;
  } finally {
    // A finally that throws would hide the first error.
    if (failed) quietly(() => descriptor.postSave?.(prepared));
  }
  if (descriptor.postSave) callHook(sink.place, "post-save", () => descriptor.postSave?.(prepared));
}

function saveMembers(
  sink: Sink,
  descriptor: VmstateDescriptor,
  state: Readonly<Record<string, unknown>>,
  version: number,
): void {
  const { place } = sink;
  const { fields, subsections } = membersOf(descriptor);
  sink.beginStruct(descriptor, version);
  for (const { name, field } of fields) {
    place.enter(name);
    if (field.exists === undefined || callHook(place, "exists", () => field.exists?.(state, version) ?? true)) {
      sink.member(name, field);
      field.save(sink, state[name] as never, { state, version });
    }
    place.leave();
  }
  for (const [name, sub] of subsections) {
    const value = state[name];
    if (value === undefined) continue;
    place.enter(name);
    if (callHook(place, "needed", () => isNeeded(sub, value))) {
      sink.beginSubsection(sub.name, sub.version);
      saveState(sink, sub, value);
      sink.endSubsection();
    }
    place.leave();
  }
  sink.endStruct();
}

function checkObject(sink: Sink, state: unknown): asserts state is Readonly<Record<string, unknown>> {
  if (typeof state !== "object" || state === null) throw sink.place.error("VMSTATE_VALUE", "is no state");
}

function quietly(call: () => void): void {
  try {
    call();
  } catch {
    // The first error is the one to tell.
  }
}
