import { BatonError } from "@baton/linux";

/** The classes of errors that QMP knows (QAPI `QapiErrorClass`). */
export type ErrorClass = "GenericError" | "CommandNotFound" | "DeviceNotFound" | "DeviceNotActive" | "KVMMissingCap";

/** Error codes whose class is not `GenericError`. */
const classes: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>([
  ["COMMAND_NOT_FOUND", "CommandNotFound"],
  ["DEVICE_NOT_FOUND", "DeviceNotFound"],
  ["DEVICE_NOT_ACTIVE", "DeviceNotActive"],
  ["KVM_CAPABILITY_MISSING", "KVMMissingCap"],
]);

/** The class of an error by its code. */
export function errorClass(code: string): ErrorClass {
  return classes.get(code) ?? "GenericError";
}

/** Whatever a command threw, as a client is told: the class, and one line for people. */
export function describeError(error: unknown): { readonly class: ErrorClass; readonly desc: string } {
  const { code, message } = BatonError.from(error, "INTERNAL_ERROR");
  return { class: errorClass(code), desc: message.replaceAll(/\s*\n\s*/g, " ").replace(/\.$/, "") };
}
