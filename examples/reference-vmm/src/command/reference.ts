import type { Command } from "./command.js";
import { errorClass } from "./error-class.js";
import type { EventDescription } from "./event-table.js";
import { markdownTable } from "./markdown-table.js";
import { type Members, type Schema, schemaName } from "./schema.js";

/** The reference of commands and events as Markdown: what `docs/qmp.md` holds between its marks. */
export function renderReference(commands: readonly Command[], events: readonly EventDescription[]): string {
  return [
    "## Commands",
    "",
    ...commands.filter(({ monitorOnly }) => !monitorOnly).flatMap(renderCommand),
    "## Events",
    "",
    ...markdownTable(
      ["event", "data", "sent when"],
      events.map(({ name, data, doc }) => [`\`${name}\``, inlineMembers(data) || "none", doc]),
    ),
  ].join("\n");
}

function renderCommand(command: Command): string[] {
  const lines = [`### ${command.name}`, "", command.doc, ""];
  const args = memberRows(command.arguments, "");
  if (args.length > 0) lines.push(...markdownTable(["argument", "type", ""], args), "");
  lines.push(`Returns ${returnsText(command.returns)}.`, "");
  const rows = memberRows(membersOf(command.returns), "");
  if (rows.length > 0) lines.push(...markdownTable(["member", "type", ""], rows), "");
  const errors = Object.entries(command.errors ?? {});
  if (errors.length > 0) {
    lines.push("Errors:", "", ...errors.map(([code, doc]) => `- \`${errorClass(code)}\` (\`${code}\`): ${doc}`), "");
  }
  return lines;
}

function returnsText(schema: Schema): string {
  if (schema.kind === "object") return Object.keys(schema.members).length === 0 ? "`{}`" : "an object";
  if (schema.kind === "array" && schema.of.kind === "object") return "a list of objects";
  if (schema.kind === "array") return "a list";
  return schemaName(schema);
}

function membersOf(schema: Schema): Members {
  if (schema.kind === "array") return membersOf(schema.of);
  return schema.kind === "object" ? schema.members : {};
}

function memberRows(members: Members, prefix: string): string[][] {
  return Object.entries(members).flatMap(([name, { type, optional, doc }]) => {
    const meaning = [optional ? "optional" : "", doc ?? ""].filter((text) => text !== "").join("; ");
    const own = [`\`${prefix}${name}\``, schemaName(type), meaning];
    return [own, ...memberRows(membersOf(type), `${prefix}${name}${type.kind === "array" ? "[]" : ""}.`)];
  });
}

function inlineMembers(members: Members): string {
  return Object.entries(members)
    .map(([name, { type, doc }]) => `\`${name}\` (${schemaName(type)}${doc === undefined ? "" : `: ${doc}`})`)
    .join(", ");
}
