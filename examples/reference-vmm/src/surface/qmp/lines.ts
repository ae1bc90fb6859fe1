import { describeError } from "../../command/error-class.js";
import type { MonitorEvent } from "../../command/event-table.js";
import { version } from "../../command/version.js";
import type { JsonValue } from "./json-parser.js";
import { encodeJson } from "./json-writer.js";

/** What the server says first. */
export function greetingLine(): string {
  return line({ QMP: { version, capabilities: [] } });
}

/** The answer to a command that succeeded. */
export function returnLine(value: unknown, id: JsonValue | undefined): string {
  return line({ return: value ?? {}, id });
}

/** The answer to a command that failed, or to what is no command. */
export function errorLine(error: unknown, id: JsonValue | undefined): string {
  return line({ error: describeError(error), id });
}

/** An event. */
export function eventLine({ event, data, timestamp }: MonitorEvent): string {
  return line({ event, data, timestamp });
}

function line(message: object): string {
  return `${encodeJson(message)}\r\n`;
}
