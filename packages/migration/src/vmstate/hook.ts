import type { Place } from "./place.js";

/** Calls a function of the descriptor's author; what it throws becomes the cause of `VMSTATE_HOOK`. */
export function callHook<T>(place: Place, name: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw place.error("VMSTATE_HOOK", `${name} failed: ${reason}`, { hook: name }, error);
  }
}
