import { parseSize } from "../../options/grammar.js";
import type { Members } from "../schema.js";
import type { MonitorForm, MonitorParameter } from "./form.js";
import { type LineScanner, lineError } from "./line-scanner.js";
import { optionArguments } from "./option-arguments.js";

/** Reads a command's parameters and gives its arguments. Fails with `MONITOR_SYNTAX` or `OPTION_INVALID`. */
export function readArguments(
  name: string,
  form: MonitorForm<never>,
  members: Members,
  scanner: LineScanner,
): Readonly<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  for (const parameter of form.parameters ?? []) {
    const value = readValue(name, parameter, scanner);
    if (value === undefined) continue;
    if (parameter.kind === "options" && form.toArguments === undefined) {
      Object.assign(values, optionArguments(name, value as string, members, parameter.implied));
    } else values[parameter.name] = value;
  }
  if (!scanner.atEnd) throw lineError(`${name}: extraneous characters at the end of line`);
  return form.toArguments?.(values, members) ?? values;
}

function readValue(command: string, { name, kind, optional }: MonitorParameter, scanner: LineScanner): unknown {
  if (kind === "format") return scanner.prefixed("/");
  const text = kind === "rest" ? scanner.rest() : scanner.word();
  if (text === undefined) {
    if (optional) return undefined;
    throw lineError(`${command}: ${name} expected`);
  }
  if (kind === "switch") return switchValue(text);
  return kind === "size" ? sizeValue(command, name, text) : text;
}

function switchValue(text: string): boolean {
  if (text !== "on" && text !== "off") throw lineError("Expected 'on' or 'off'");
  return text === "on";
}

function sizeValue(command: string, name: string, text: string): number {
  const bytes = parseSize(command, name, text);
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw lineError(`${command}: ${name} is too large`);
  return Number(bytes);
}
