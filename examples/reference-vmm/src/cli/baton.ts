#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { threadPool } from "@baton/core-kvm";
import { BatonError } from "@baton/linux";
import { helpText, parseCommandLine } from "../options/command-line.js";
import { exitCode } from "./exit-code.js";
import { leave } from "./leave.js";

/** Prints an error as a sentence that says what to do; only what was not foreseen comes with a stack. */
function report(error: unknown): void {
  const known = BatonError.from(error, "UNEXPECTED");
  process.stderr.write(`baton: error: ${known.message}\n`);
  if (known.code === "UNEXPECTED" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (command === "demo") return (await import("./demo.js")).runDemo();
  if (command === "doctor") return (await import("./doctor.js")).runDoctor(rest);
  if (command === "ps") return (await import("./ps.js")).runPs(rest);
  if (command === "top") return (await import("./top/top.js")).runTop(rest);
  if (command === "inspect") return (await import("./inspect.js")).runInspect(rest);
  if (command === "console") return (await import("./console.js")).runConsole(rest);
  if (command === "stop") return (await import("./stop.js")).runStop(rest);
  if (command === undefined || command === "help") {
    process.stdout.write(helpText());
    return exitCode.ok;
  }
  const line = parseCommandLine(args);
  if (line.kind === "help") process.stdout.write(helpText());
  else if (line.kind === "version") {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    process.stdout.write(`baton ${version}\n`);
  } else {
    threadPool.prestart(line.options.smp?.cpus ?? 1).catch(() => {});
    return (await import("./run.js")).runVmm(line.options);
  }
  return exitCode.ok;
}

// Whoever reads them may leave early.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

try {
  leave(await main(process.argv.slice(2)));
} catch (error) {
  report(error);
  leave(exitCode.error);
}
