import { optionError } from "./grammar.js";
import { emptyOptions, type VmmOptions } from "./options.js";
import { optionTable } from "./table.js";

/** What a command line asks for: a VM, or help, or the version. */
export type CommandLine =
  | { readonly kind: "run"; readonly options: VmmOptions }
  | { readonly kind: "help" }
  | { readonly kind: "version" };

/**
 * Reads QEMU's and StratoVirt's options, with one dash or two. Unknown options, missing and superfluous values and
 * options that may stand once but stand twice are errors (`OPTION_INVALID`).
 */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const options = emptyOptions();
  const seen = new Set<string>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const name = /^--?([A-Za-z][A-Za-z0-9-]*)$/.exec(arg)?.[1];
    if (name === undefined)
      throw optionError(arg.replace(/^-+/, ""), `'${arg}' is not an option`, "baton -help lists them");
    if (name === "help" || name === "h") return { kind: "help" };
    if (name === "version" || name === "V") return { kind: "version" };
    const entry = Object.hasOwn(optionTable, name) ? optionTable[name] : undefined;
    if (entry === undefined) throw optionError(name, "unknown option", "baton -help lists them");
    if (seen.has(name) && !entry.repeat) throw optionError(name, "given twice");
    seen.add(name);
    let value = "";
    if (entry.argument !== undefined) {
      const next = args[i + 1];
      const missing = next === undefined || (/^--?[A-Za-z]/.test(next) && name !== "append");
      if (!missing) {
        value = next;
        i++;
      } else if (!entry.optional) throw optionError(name, `needs a value: ${entry.argument}`);
    }
    entry.apply(options, value, name);
  }
  return { kind: "run", options };
}

/** The list of options for `-help`, made from the table. */
export function helpText(): string {
  const lines = Object.entries(optionTable)
    .filter(([, entry]) => entry.help !== "")
    .map(([name, entry]) => `  -${`${name} ${entry.argument ?? ""}`.padEnd(44)} ${entry.help}`);
  const usage = [
    "usage: baton [OPTIONS]            run a virtual machine",
    "       baton demo                 run a small guest and explain what happens",
    "       baton doctor               check this machine and name the fix for what is missing",
    "       baton ps [--json]          list the running VMs that have a name",
    "       baton inspect FILE [OTHER] print what is in a migration stream, or what two differ in",
    "       baton top                  show what they do; --once prints one sample, --json for programs",
    "       baton console NAME         connect to the serial port; Ctrl-] leaves",
    "       baton stop NAME            press the power button; --timeout SECONDS until it is ended",
    "",
    "Options may have one dash or two:",
  ];
  return `${[...usage, ...lines].join("\n")}\n`;
}
