import { BatonError } from "@baton/linux";
import type { JsonObject, JsonValue } from "./json-parser.js";

/** A request of a client. */
export interface Request {
  readonly command: string;
  readonly arguments: JsonObject;
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The `id` of a request, of any type; undefined where it has none. */
export function requestId(message: JsonValue): JsonValue | undefined {
  return isObject(message) && Object.hasOwn(message, "id") ? message.id : undefined;
}

/** Reads a request. Fails with `REQUEST_INVALID`, in QEMU's words. */
export function readRequest(message: JsonValue): Request {
  if (!isObject(message)) throw invalid("QMP input must be a JSON object");
  for (const [name, value] of Object.entries(message)) {
    if (name === "id") continue;
    if (name === "execute") {
      if (typeof value !== "string") throw invalid("QMP input member 'execute' must be a string");
    } else if (name === "arguments") {
      if (!isObject(value)) throw invalid("QMP input member 'arguments' must be an object");
    } else if (name === "exec-oob") {
      throw invalid("QMP input member 'exec-oob' is unexpected: the capability 'oob' is not offered, use 'execute'");
    } else throw invalid(`QMP input member '${name}' is unexpected`);
  }
  if (typeof message.execute !== "string") throw invalid("QMP input lacks member 'execute'");
  return { command: message.execute, arguments: isObject(message.arguments) ? message.arguments : {} };
}

function invalid(message: string): BatonError {
  return new BatonError("REQUEST_INVALID", message);
}
