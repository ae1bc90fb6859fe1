import { markdownTable } from "../command/markdown-table.js";
import type { OptionEntry } from "./table.js";

/** The options as Markdown: what `docs/baton.md` holds between its marks. */
export function renderOptions(table: Readonly<Record<string, OptionEntry>>): string {
  const entries = Object.entries(table);
  const hidden = entries.filter(([, entry]) => entry.help === "");
  // An option without effect has an `apply` that takes nothing.
  const names = (test: (entry: OptionEntry) => boolean) =>
    hidden
      .filter(([, entry]) => test(entry))
      .map(([name]) => `\`-${name}\``)
      .join(", ");
  const rows = entries
    .filter(([, entry]) => entry.help !== "")
    .map(([name, entry]) => [`\`-${name}\``, form(entry), entry.repeat ? "yes" : "", cell(entry.help)]);
  return [
    ...markdownTable(["option", "value", "may repeat", ""], rows),
    "",
    `Other names: ${names((entry) => entry.apply.length > 0)}.`,
    "",
    `Accepted without effect, for scripts written for QEMU or StratoVirt: ${names((entry) => entry.apply.length === 0)}.`,
  ].join("\n");
}

function form({ argument, optional }: OptionEntry): string {
  if (argument === undefined) return "";
  return cell(optional ? `\`[${argument}]\`` : `\`${argument}\``);
}

/** In a table's cell a bar ends the cell, even in code. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
