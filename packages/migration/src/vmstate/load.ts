import type { Source } from "./codec.js";
import type { VmstateDescriptor } from "./descriptor.js";
import { callHook } from "./hook.js";
import { type Members, membersOf } from "./members.js";

/** What {@link loadState} loads over, and how the state was saved. */
export interface LoadStateOptions {
  /** The version of the state in the stream; the descriptor's own unless given. */
  readonly version?: number;
  /** This side's state before the load. */
  readonly local?: unknown;
}

/**
 * Reads a state: version check, pre-load hook, fields, subsections, post-load hook. The versions' texts are QEMU's.
 */
export function loadState(source: Source, descriptor: VmstateDescriptor, options: LoadStateOptions = {}): unknown {
  const { version = descriptor.version } = options;
  checkVersion(source, descriptor, version);
  const given = isObject(options.local) ? options.local : {};
  const local = descriptor.preLoad
    ? (callHook(source.place, "pre-load", () => descriptor.preLoad?.(given)) ?? given)
    : given;
  const state = loadMembers(source, descriptor, version, isObject(local) ? local : {});
  if (descriptor.postLoad === undefined) return state;
  return callHook(source.place, "post-load", () => descriptor.postLoad?.(state, version)) ?? state;
}

function checkVersion(source: Source, descriptor: VmstateDescriptor, version: number): void {
  const { name, unmigratable } = descriptor;
  if (unmigratable) {
    throw source.place.error("VMSTATE_UNMIGRATABLE", `State blocked by non-migratable device '${name}'`);
  }
  const refuse = (message: string) =>
    source.place.error("VMSTATE_VERSION", `${name}: incoming version_id ${version} is ${message}`, {
      incoming: version,
      version: descriptor.version,
      minimumVersion: descriptor.minimumVersion,
    });
  if (version > descriptor.version) throw refuse(`too new for local version_id ${descriptor.version}`);
  if (!(version >= descriptor.minimumVersion)) {
    throw refuse(`too old for local minimum version_id ${descriptor.minimumVersion}`);
  }
}

function loadMembers(
  source: Source,
  descriptor: VmstateDescriptor,
  version: number,
  local: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { place } = source;
  const state: Record<string, unknown> = {};
  const { fields, subsections } = membersOf(descriptor);
  source.beginStruct();
  for (const { name, field, silent } of fields) {
    place.enter(name);
    if (field.exists === undefined || callHook(place, "exists", () => field.exists?.(state, version) ?? true)) {
      source.member(name, field.streamName);
      const value = field.load(source, { state, version, local: local[name] });
      if (!silent) state[name] = value;
    } else if (!silent) {
      state[name] = local[name] === undefined ? field.fallback?.() : structuredClone(local[name]);
    }
    place.leave();
  }
  loadSubsections(source, descriptor, subsections, state, local);
  source.endStruct();
  return state;
}

function loadSubsections(
  source: Source,
  descriptor: VmstateDescriptor,
  subsections: Members["subsections"],
  state: Record<string, unknown>,
  local: Readonly<Record<string, unknown>>,
): void {
  const { place } = source;
  let next = source.nextSubsection(descriptor);
  if (next === undefined && subsections.length === 0) return;
  const missing = new Map(subsections);
  for (; next; next = source.nextSubsection(descriptor)) {
    const { name, version } = next;
    const found = [...missing].find(([, sub]) => sub.name === name);
    if (!found) {
      const known = Object.values(descriptor.subsections).some((sub) => sub.name === name);
      throw place.error(
        "VMSTATE_SUBSECTION",
        known ? `subsection '${name}' came twice` : `VM subsection '${name}' in '${descriptor.name}' does not exist`,
        { subsection: name },
      );
    }
    const [key, sub] = found;
    missing.delete(key);
    place.enter(key);
    state[key] = loadState(source, sub, { version, local: local[key] });
    source.endSubsection();
    place.leave();
  }
  for (const key of missing.keys()) {
    if (local[key] !== undefined) state[key] = structuredClone(local[key]);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
