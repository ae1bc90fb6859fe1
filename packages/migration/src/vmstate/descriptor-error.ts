import { VmstateError } from "./error.js";

/** `VMSTATE_DESCRIPTOR` of a field that no descriptor can hold; `what` is the function that made it. */
export function descriptorError(what: string, message: string): VmstateError {
  return new VmstateError("VMSTATE_DESCRIPTOR", message, { path: what });
}
