import { BatonError } from "@baton/linux";
import { type Command, defineCommand } from "../command.js";
import type { CommandTable } from "../command-table.js";
import { type MonitorState, monitorState } from "../monitor/form.js";
import { HumanMonitor, helpLine, type MonitorEntry } from "../monitor/human-monitor.js";
import { int, nothing, str } from "../schema.js";

const isTopic = ({ name }: MonitorEntry) => name.startsWith("info ");

/** The lines of `help`, of commands or of `info`'s topics. */
function helpTexts(table: CommandTable, test: (entry: MonitorEntry) => boolean): string {
  return new HumanMonitor(table).entries.filter(test).map(helpLine).join("");
}

function helpOf(table: CommandTable, name: string): string {
  if (name === "info") return helpTexts(table, isTopic);
  const entry = new HumanMonitor(table).find(name);
  return entry === undefined ? `unknown command: '${name}'\n` : helpLine(entry);
}

/** The human monitor itself. */
export const humanMonitorCommands: readonly Command[] = [
  defineCommand({
    name: "human-monitor-command",
    doc: "Carries out a line of the human monitor. What it says, also of what failed, is the result; lines end in CRLF.",
    arguments: {
      "command-line": { type: str, doc: "the line" },
      "cpu-index": { type: int, optional: true, doc: "the vCPU that `x` looks through; 0 without it" },
    },
    returns: str,
    errors: { CPU_UNKNOWN: "there is no such vCPU" },
    async handler(context, args, call) {
      const cpu = args["cpu-index"] ?? 0;
      if (context.vm.machine.vcpus.threads[cpu] === undefined) {
        throw new BatonError("CPU_UNKNOWN", "Parameter 'cpu-index' expects a CPU number");
      }
      const { table, ...rest } = call;
      const text = await new HumanMonitor(table).execute(context, args["command-line"], {
        ...rest,
        monitor: monitorState(cpu),
      });
      return text.replaceAll("\n", "\r\n");
    },
  }),
  defineCommand({
    name: "help",
    doc: "The commands of the monitor, or one of them.",
    monitorOnly: true,
    monitor: {
      aliases: ["?"],
      parameters: [
        {
          name: "name",
          kind: "rest",
          optional: true,
          choices: (_context, table) => new HumanMonitor(table).entries.map(({ name }) => name),
        },
      ],
      usage: "[cmd]",
      help: "show the help",
      render: (text) => text,
    },
    arguments: { name: { type: str, optional: true } },
    returns: str,
    handler(context, { name }, { table }) {
      if (name === undefined) return helpTexts(table, (entry) => !isTopic(entry));
      if (name !== "log" || context.log === undefined) return helpOf(table, name);
      return logItems(context.log.items);
    },
  }),
  defineCommand({
    name: "info",
    doc: "The topics that `info` knows.",
    monitorOnly: true,
    monitor: { usage: "[subcommand]", help: "show various information about the system state", render: (text) => text },
    arguments: {},
    returns: str,
    handler: (_context, _args, { table }) => helpTexts(table, isTopic),
  }),
  defineCommand({
    name: "cpu",
    doc: "Chooses the vCPU that `x` looks through.",
    monitorOnly: true,
    monitor: {
      parameters: [{ name: "index", kind: "word" }],
      help: "set the default CPU",
    },
    arguments: { index: { type: str } },
    returns: nothing,
    errors: { CPU_UNKNOWN: "there is no such vCPU" },
    handler({ vm }, { index }, { monitor }) {
      if (!/^\d+$/.test(index) || vm.machine.vcpus.threads[Number(index)] === undefined) {
        throw new BatonError("CPU_UNKNOWN", `invalid CPU index '${index}'`);
      }
      (monitor as MonitorState).cpu = Number(index);
      return {};
    },
  }),
  defineCommand({
    name: "log",
    doc: "Chooses what the program writes to its log.",
    monitorOnly: true,
    monitor: {
      parameters: [
        {
          name: "items",
          kind: "word",
          choices: ({ log }) => ["none", ...Object.keys(log?.items ?? {})],
        },
      ],
      usage: "item1[,...]",
      help: "activate logging of the specified items",
      render: (text) => text,
    },
    arguments: { items: { type: str, doc: "items with commas between them, or `none`" } },
    returns: str,
    errors: { LOG_MISSING: "the program that embeds the VM has no log to choose for" },
    handler({ log }, { items }) {
      if (log === undefined) throw new BatonError("LOG_MISSING", "There is no log to choose for");
      const chosen = items === "none" ? [] : items.split(",");
      if (chosen.some((item) => !Object.hasOwn(log.items, item))) return logItems(log.items);
      log.choose(chosen);
      return "";
    },
  }),
];

function logItems(items: Readonly<Record<string, string>>): string {
  const rows = Object.entries({ none: "remove all logs", ...items }).map(
    ([name, doc]) => `${name.padEnd(15)} ${doc}\n`,
  );
  return `Log items (comma separated):\n${rows.join("")}`;
}
