import { BatonError } from "@baton/linux";
import type { Command, CommandCall, CommandContext } from "../command.js";
import type { CommandTable } from "../command-table.js";
import { describeError } from "../error-class.js";
import type { MonitorForm, MonitorState } from "./form.js";
import { LineScanner } from "./line-scanner.js";
import { readArguments } from "./parameters.js";

const INFO = "info ";

/** A command with its form: what the monitor knows of it. */
export interface MonitorEntry {
  readonly command: Command;
  readonly form: MonitorForm;
  /** The name with which it is called, as in `info block`. */
  readonly name: string;
}

/** One call of a line, but for what the monitor adds. */
export type LineCall = Omit<CommandCall, "table" | "monitor"> & { readonly monitor: MonitorState };

/** The human monitor over a table of commands: lines in, texts out. */
export class HumanMonitor {
  readonly table: CommandTable;
  /** What it knows, sorted by name. */
  readonly entries: readonly MonitorEntry[];
  readonly #byName = new Map<string, MonitorEntry>();

  constructor(table: CommandTable) {
    this.table = table;
    this.entries = table.commands
      .flatMap((command) => {
        const { monitor: form } = command;
        return form === undefined ? [] : [{ command, form: form as MonitorForm, name: form.name ?? command.name }];
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of this.entries) {
      for (const name of [entry.name, ...(entry.form.aliases ?? [])]) this.#byName.set(name, entry);
    }
  }

  /** What a name or an alias stands for. */
  find(name: string): MonitorEntry | undefined {
    return this.#byName.get(name);
  }

  /** Carries out a line; resolves to what is to be shown, failures included. */
  async execute(context: CommandContext, line: string, call: LineCall): Promise<string> {
    const scanner = new LineScanner(line);
    const first = scanner.prefixed("");
    if (first === undefined) return "";
    const topic = first === "info" ? scanner.prefixed("") : undefined;
    const name = topic === undefined ? first : `${INFO}${topic}`;
    const entry = this.find(name);
    if (entry === undefined) return `unknown command: '${name}'\n`;
    const { command, form } = entry;
    try {
      const args = readArguments(shownNames(entry), form, command.arguments, scanner);
      const result = await this.table.execute(context, command.name, args, call);
      return form.render?.(result, call.monitor) ?? "";
    } catch (error) {
      return failure(error, entry);
    }
  }
}

/** The names of an entry as messages and `help` show them. */
export function shownNames({ name, form }: MonitorEntry): string {
  return [name, ...(form.aliases ?? [])].join("|");
}

/** The line of `help` for an entry. */
export function helpLine(entry: MonitorEntry): string {
  const { parameters = [], usage, help } = entry.form;
  const written = parameters.map(({ name, optional }) => (optional ? `[${name}]` : name)).join(" ");
  return `${shownNames(entry)} ${usage ?? written} -- ${help}\n`;
}

function failure(error: unknown, { name }: MonitorEntry): string {
  const { desc } = describeError(error);
  if (!BatonError.is(error, "MONITOR_SYNTAX")) return `Error: ${desc.replace(/^-/, "")}\n`;
  return `${desc}\nTry "help ${name}" for more information\n`;
}
