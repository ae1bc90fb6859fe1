import type { DescribedField, DescribedSection, DescribedState, StreamDescription } from "../stream/description.js";
import { LONGEST_DESCRIPTION } from "../stream/description.js";
import { TAG } from "../stream/format.js";

/** How much of a file's end may hold the description. */
export const TAIL_BYTES: number = LONGEST_DESCRIPTION + 64 * 1024;
const HEAD = 5;
const BRACE = 0x7b;
/** Places that look like the start of one are tried so often. */
const MOST_TRIES = 16;

/** A description and where it stands, in bytes from the start of what was searched. */
export interface FoundDescription {
  readonly description: StreamDescription;
  readonly offset: number;
  /** With tag and length. */
  readonly bytes: number;
}

/** Looks for the description at the end of a stream. */
export function findDescription(tail: Uint8Array): FoundDescription | undefined {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length);
  let tries = 0;
  for (let at = tail.length - HEAD - 2; at >= 0 && tries < MOST_TRIES; at--) {
    if (tail[at] !== TAG.description || tail[at + HEAD] !== BRACE) continue;
    const length = view.getUint32(at + 1);
    if (length > tail.length - at - HEAD) continue;
    tries++;
    const description = parseDescription(tail.subarray(at + HEAD, at + HEAD + length));
    if (description) return { description, offset: at, bytes: HEAD + length };
  }
  return undefined;
}

/** The description in JSON; undefined where it is none. */
export function parseDescription(json: Uint8Array): StreamDescription | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
    return isDescription(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDescription(value: unknown): value is StreamDescription {
  if (!isObject(value) || !isCount(value.page_size) || !Array.isArray(value.devices)) return false;
  if (value.configuration !== undefined && !isState(value.configuration)) return false;
  return value.devices.every(isSection);
}

function isSection(value: unknown): value is DescribedSection {
  if (!isObject(value) || typeof value.name !== "string" || !isCount(value.instance_id)) return false;
  // Devices without a description of their state have one field of bytes.
  return isFields(value.fields, 0) && isStates(value.subsections, 0);
}

function isState(value: unknown, depth = 0): value is DescribedState {
  if (!isObject(value) || typeof value.vmsd_name !== "string" || !isCount(value.version)) return false;
  return isFields(value.fields, depth + 1) && isStates(value.subsections, depth + 1);
}

function isStates(value: unknown, depth: number): boolean {
  return value === undefined || (Array.isArray(value) && value.every((item) => isState(item, depth)));
}

function isFields(value: unknown, depth: number): value is DescribedField[] {
  return depth < 100 && Array.isArray(value) && value.every((item) => isField(item, depth));
}

function isField(value: unknown, depth: number): value is DescribedField {
  if (!isObject(value) || typeof value.name !== "string" || value.name === "__proto__") return false;
  if (typeof value.type !== "string" || !isCount(value.size)) return false;
  if (value.array_len !== undefined && !isCount(value.array_len)) return false;
  if (value.index !== undefined && !isCount(value.index)) return false;
  return value.struct === undefined || isState(value.struct, depth + 1);
}
