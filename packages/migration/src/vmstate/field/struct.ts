import type { Vmstate } from "../descriptor.js";
import { descriptorError } from "../descriptor-error.js";
import type { Field } from "../field.js";
import { callHook } from "../hook.js";
import { loadState } from "../load.js";
import { saveState } from "../save.js";
import { minimumBytesOf } from "./minimum.js";

/**
 * A state within a state: its fields, then its subsections. It is saved and loaded as `version`, its descriptor's own
 * unless given: streams carry no version for it. Throws `VMSTATE_DESCRIPTOR` for one that it does not read. QEMU: `VMSTATE_STRUCT`, `VMSTATE_VSTRUCT`.
 */
export function struct<S>(descriptor: Vmstate<S>, version: number = descriptor.version): Field<S> {
  if (!(version >= descriptor.minimumVersion && version <= descriptor.version)) {
    throw descriptorError("struct", `${descriptor.name} has no version ${version}`);
  }
  return {
    type: version === descriptor.version ? "struct" : "vstruct",
    minimumBytes: minimumBytesOf(descriptor, version),
    struct: descriptor,
    ...(version !== descriptor.version && { structVersion: version }),
    endsWithStruct: true,
    save: (sink, value) => saveState(sink, descriptor, value, version),
    load: (source, scope) => loadState(source, descriptor, { version, local: scope.local }) as S,
  };
}

/** How a temporary struct is made of a value, and the value of it. `state` is the struct around, as far as loaded. */
export interface Temporary<T, V, Needs> {
  readonly save: (value: V, state: Needs) => T;
  readonly load: (temporary: T, state: Needs) => V;
}

/**
 * A value that streams carry as a struct of another shape, made for the purpose. Throws `VMSTATE_HOOK` when a
 * conversion throws. `needs` names the members around that the conversions read. QEMU: `VMSTATE_WITH_TMP`.
 */
export function temporary<T, V, Needs = unknown>(
  descriptor: Vmstate<T>,
  convert: Temporary<T, V, Needs>,
  needs: readonly (keyof Needs & string)[] = [],
): Field<V, NoInfer<Needs>> {
  const inner = struct(descriptor);
  return {
    ...inner,
    type: "tmp",
    reads: needs,
    save(sink, value, scope) {
      const made = callHook(sink.place, "tmp", () => convert.save(value, scope.state as Needs));
      inner.save(sink, made, scope);
    },
    load(source, scope) {
      const read = inner.load(source, { ...scope, local: undefined });
      return callHook(source.place, "tmp", () => convert.load(read, scope.state as Needs));
    },
  } as Field<V, NoInfer<Needs>>;
}
