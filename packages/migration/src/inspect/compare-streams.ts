import type { InspectedStream, InspectedValue } from "./inspected.js";

/** A value that two streams differ in; undefined where one does not have it. */
export interface StreamDifference {
  /** As in `small/value` or `ram/pc.ram/pages`. */
  readonly path: string;
  readonly left: InspectedValue | undefined;
  readonly right: InspectedValue | undefined;
}

/** Compares what two streams contain: configuration, blocks and their counts, every field; not the contents of RAM. */
export function compareStreams(left: InspectedStream, right: InspectedStream): StreamDifference[] {
  const ours = flat(left);
  const theirs = flat(right);
  const paths = new Set([...ours.keys(), ...theirs.keys()]);
  return [...paths]
    .map((path) => ({ path, left: ours.get(path), right: theirs.get(path) }))
    .filter((difference) => difference.left !== difference.right);
}

function flat(stream: InspectedStream): Map<string, InspectedValue> {
  const values = new Map<string, InspectedValue>();
  const add = (path: string, value: InspectedValue | undefined) => {
    if (value === undefined) return;
    if (typeof value !== "object" || value === null) values.set(path, value);
    else if (Array.isArray(value)) for (const [i, item] of value.entries()) add(`${path}[${i}]`, item);
    else for (const [name, item] of Object.entries(value)) add(`${path}/${name}`, item);
  };
  add("machine", stream.machineType);
  add("capabilities", stream.capabilities);
  add("uuid", stream.uuid);
  for (const { id, size, pages, zeroPages } of stream.blocks) add(`ram/${id}`, { size, pages, zeroPages });
  for (const { idstr, instanceId, version, fields } of stream.sections) {
    const name = instanceId === 0 ? idstr : `${idstr}#${instanceId}`;
    add(`${name} version`, version);
    add(name, fields);
  }
  return values;
}
