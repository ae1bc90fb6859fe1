import type { SilentField } from "../field.js";
import { callHook } from "../hook.js";

/**
 * Takes no bytes and no member: refuses the state, saved or loaded, unless `check` of what stands before it is true.
 * `reads` names the members that it reads. Throws `VMSTATE_VALIDATION`. QEMU: `VMSTATE_VALIDATE`.
 */
export function validate<S>(
  reads: readonly (keyof S & string)[],
  check: (state: S, version: number) => boolean,
): SilentField<S> {
  const run = (place: Parameters<typeof callHook>[0], scope: { state: unknown; version: number }) => {
    if (callHook(place, "validate", () => check(scope.state as S, scope.version))) return undefined;
    throw place.error("VMSTATE_VALIDATION", `Input validation failed: version_id: ${scope.version}`);
  };
  return {
    type: "validate",
    minimumBytes: 0,
    silent: true,
    reads,
    save: (sink, _value, scope) => run(sink.place, scope),
    load: (source, scope) => run(source.place, scope),
  };
}
