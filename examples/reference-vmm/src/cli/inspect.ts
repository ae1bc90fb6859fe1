import { compareStreams, type InspectedStream, type InspectedValue, inspectStream } from "@baton/migration";
import { bytesText } from "../units.js";
import { subcommandArguments } from "./arguments.js";
import { exitCode } from "./exit-code.js";
import { textTable } from "./text-table.js";

const USAGE = "baton inspect [--json] [--check] FILE [OTHER]";

/**
 * Prints what is in a migration stream: as tables, or with `--json`. `--check` also verifies checksums and fails for
 * the first thing that is wrong. With a second file, prints what they differ in, and fails if there is anything.
 */
export async function runInspect(args: readonly string[]): Promise<number> {
  const options = { json: { type: "boolean" }, check: { type: "boolean" } } as const;
  const files = args.filter((word) => !word.startsWith("-")).length;
  const { flag, words } = subcommandArguments(USAGE, args, options, files === 2 ? 2 : 1);
  const check = flag("check");
  const [first, second] = await Promise.all(words.map((file) => inspectStream(file, { check })));
  if (second) return printDifferences(first as InspectedStream, second, flag("json"));
  const stream = first as InspectedStream;
  process.stdout.write(flag("json") ? json(stream) : streamText(stream));
  return stream.problems.length === 0 ? exitCode.ok : exitCode.error;
}

function printDifferences(left: InspectedStream, right: InspectedStream, asJson: boolean): number {
  const differences = compareStreams(left, right);
  if (asJson) process.stdout.write(json(differences));
  else {
    const rows = differences.map(({ path, left, right }) => [path, valueText(left), valueText(right)]);
    process.stdout.write(rows.length === 0 ? "no differences\n" : textTable([["FIELD", "FIRST", "SECOND"], ...rows]));
  }
  return differences.length === 0 ? exitCode.ok : exitCode.error;
}

/** JSON with what it has no numbers for as text. */
function json(value: unknown): string {
  const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? String(item) : item), 2);
  return `${text}\n`;
}

function streamText(stream: InspectedStream): string {
  const parts = [
    textTable([
      ["machine", stream.machineType ?? "-"],
      ["capabilities", stream.capabilities.join(", ") || "-"],
      ["uuid", stream.uuid ?? "-"],
      ["stream", `${stream.bytes} bytes, ${stream.trailingBytes} after it`],
      ["checksums", stream.checksum],
      ["description", stream.descriptionBytes > 0 ? bytesText(stream.descriptionBytes) : "none"],
    ]),
  ];
  const blocks = stream.blocks.map(({ id, size, pages, zeroPages }) => {
    return [id, bytesText(Number(size)), String(pages), String(zeroPages)];
  });
  if (blocks.length > 0) parts.push(textTable([["RAM", "SIZE", "PAGES", "ZERO PAGES"], ...blocks], [1, 2, 3]));
  const sections = stream.sections.map(({ idstr, instanceId, version, offset, bytes }) => {
    return [idstr, String(instanceId), String(version), String(offset), String(bytes)];
  });
  const head = ["SECTION", "INSTANCE", "VERSION", "OFFSET", "BYTES"];
  if (sections.length > 0) parts.push(textTable([head, ...sections], [1, 2, 3, 4]));
  const fields = stream.sections.flatMap(({ idstr, instanceId, fields }) => {
    return flat(instanceId === 0 ? idstr : `${idstr}#${instanceId}`, fields);
  });
  if (fields.length > 0) parts.push(textTable([["FIELD", "VALUE"], ...fields]));
  if (stream.problems.length > 0) {
    parts.push(textTable([["PROBLEM"], ...stream.problems.map(({ message }) => [message])]));
  }
  return parts.map(printable).join("\n");
}

function flat(path: string, value: InspectedValue): string[][] {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== "object" || item === null)) {
      return [[path, value.map(valueText).join(" ")]];
    }
    return value.flatMap((item, i) => flat(`${path}[${i}]`, item as InspectedValue));
  }
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([name, item]) => flat(`${path}/${name}`, item as InspectedValue));
  }
  return [[path, valueText(value)]];
}

function valueText(value: InspectedValue | undefined): string {
  if (value === undefined) return "-";
  if (typeof value === "number" || typeof value === "bigint") {
    return value > 9 ? `0x${value.toString(16)}` : String(value);
  }
  return String(value);
}

/** Names come from a file: what a terminal would obey is shown instead. */
function printable(text: string): string {
  return text.replace(/(?!\n)\p{Cc}/gu, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
