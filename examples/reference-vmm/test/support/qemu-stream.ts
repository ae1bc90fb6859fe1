import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

/** A section of a stream with the bytes of its state. */
export interface QemuSection {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

interface Described {
  readonly fields: readonly { readonly size: number; readonly array_len?: number }[];
  readonly subsections?: readonly (Described & { readonly vmsd_name: string })[];
}

const SECTION_FULL = 4;
const CONFIGURATION = 7;
const COMMAND = 8;
const FOOTER = 0x7e;
const SUBSECTION_HEADER = 6;

function lengthOf(described: Described): number {
  const fields = described.fields.reduce((sum, { size, array_len = 1 }) => sum + size * array_len, 0);
  return (described.subsections ?? []).reduce(
    (sum, sub) => sum + SUBSECTION_HEADER + sub.vmsd_name.length + lengthOf(sub),
    fields,
  );
}

/** Reads the sections of a fixture whose RAM was cut out; lengths come from the description behind its end. */
export function readQemuStream(name: "split" | "packed" | "acpi"): QemuSection[] {
  const path = fileURLToPath(new URL(`../fixtures/qemu-7.2-${name}.stream.gz`, import.meta.url));
  const bytes = gunzipSync(readFileSync(path));
  const description = JSON.parse(bytes.subarray(bytes.lastIndexOf('{"page_size"')).toString()) as {
    readonly devices: readonly (Described & { readonly name: string; readonly instance_id: number })[];
  };
  const sections: QemuSection[] = [];
  let at = 8;
  const u32 = () => {
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = () => {
    const length = bytes.readUInt8(at);
    at += 1 + length;
    return bytes.toString("latin1", at - length, at);
  };
  for (let tag = bytes.readUInt8(at++); tag !== 0; tag = bytes.readUInt8(at++)) {
    if (tag === CONFIGURATION) {
      const length = u32();
      at += length;
      if (bytes.readUInt8(at) === 5) {
        at++;
        text();
        u32();
        for (let left = u32(); left > 0; left--) text();
      }
    } else if (tag === COMMAND) {
      at += 4 + bytes.readUInt16BE(at + 2);
    } else if (tag === SECTION_FULL) {
      const id = u32();
      const idstr = text();
      const instanceId = u32();
      const version = u32();
      const described = description.devices.find((each) => each.name === idstr && each.instance_id === instanceId);
      if (described === undefined) throw new Error(`${idstr} is not described`);
      const length = lengthOf(described);
      sections.push({ idstr, instanceId, version, payload: bytes.subarray(at, at + length) });
      at += length;
      if (bytes.readUInt8(at++) !== FOOTER || u32() !== id) throw new Error(`${idstr} does not end where it should`);
    } else throw new Error(`tag ${tag} at ${at}`);
  }
  return sections;
}
