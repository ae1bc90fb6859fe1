import type { Command } from "../command.js";
import type { CommandTable } from "../command-table.js";
import { errorClass } from "../error-class.js";
import { markdownTable } from "../markdown-table.js";
import { HumanMonitor, helpLine, type MonitorEntry } from "./human-monitor.js";

/**
 * All commands with their arguments, their errors and the surfaces that have them, and what the monitor's `help` says:
 * what `docs/monitor.md` holds between its marks.
 */
export function renderSurfaces(table: CommandTable): string {
  const monitor = new HumanMonitor(table);
  const rows = table.commands.map((command) => {
    const entry = monitor.entries.find((one) => one.command === command);
    return [command.monitorOnly ? "" : `\`${command.name}\``, written(entry), argumentNames(command), errors(command)];
  });
  return [
    "## Which surface has which command",
    "",
    ...markdownTable(["QMP", "monitor", "arguments", "errors"], rows),
    "",
    "## What they do",
    "",
    "```",
    ...monitor.entries.map((entry) => helpLine(entry).trimEnd()),
    "```",
  ].join("\n");
}

/** How a command is written on the monitor. */
function written(entry: MonitorEntry | undefined): string {
  if (entry === undefined) return "";
  const { name, form } = entry;
  const usage = form.usage ?? (form.parameters ?? []).map((parameter) => parameter.name).join(" ");
  const names = [name, ...(form.aliases ?? [])].map((one) => `\`${`${one} ${usage}`.trim().replaceAll("|", "\\|")}\``);
  return names.join(", ");
}

function argumentNames({ arguments: members }: Command): string {
  return Object.entries(members)
    .map(([name, { optional }]) => (optional ? `\`${name}\`?` : `\`${name}\``))
    .join(", ");
}

function errors(command: Command): string {
  return Object.keys(command.errors ?? {})
    .map((code) => `\`${errorClass(code)}\` (\`${code}\`)`)
    .join(", ");
}
