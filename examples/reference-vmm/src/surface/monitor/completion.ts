import type { CommandContext } from "../../command/command.js";
import type { HumanMonitor } from "../../command/monitor/human-monitor.js";

/** What may follow, and the beginning of it that has been typed. */
export type Completion = readonly [candidates: readonly string[], typed: string];

/** The ways in which the last word of a line can go on: names of commands, topics of `info`, and what parameters say. */
export function complete(monitor: HumanMonitor, context: CommandContext, line: string): Completion {
  const words = line.trimStart().split(/\s+/);
  const typed = words.pop() as string;
  const matching = (names: Iterable<string>): Completion => {
    const found = [...new Set(names)].filter((name) => name.startsWith(typed)).sort();
    return [found.length === 1 ? [`${found[0]} `] : found, typed];
  };
  const [first, ...others] = words;
  if (first === undefined) return matching(firstWords(monitor));
  if (first === "info" && others.length === 0) return matching(topics(monitor));
  const entry = monitor.find(first === "info" ? `info ${others.shift()}` : first);
  const parameters = entry?.form.parameters ?? [];
  const parameter = parameters[Math.min(others.length, parameters.length - 1)];
  if (parameter === undefined || (others.length >= parameters.length && parameter.kind !== "rest")) return [[], typed];
  if (parameter.kind === "switch") return matching(["on", "off"]);
  const choices = parameter.choices?.(context, monitor.table) ?? [];
  // A name of two words, such as `info block`, goes on behind its first one.
  const rest = [...others, ""].join(" ");
  return matching(
    parameter.kind === "rest"
      ? choices.flatMap((choice) =>
          choice.startsWith(rest) ? [choice.slice(rest.length).split(" ")[0] as string] : [],
        )
      : choices,
  );
}

function firstWords(monitor: HumanMonitor): string[] {
  return monitor.entries.flatMap(({ name, form }) => [name.split(" ")[0] as string, ...(form.aliases ?? [])]);
}

function topics(monitor: HumanMonitor): string[] {
  return monitor.entries.flatMap(({ name }) => (name.startsWith("info ") ? [name.slice(5)] : []));
}
