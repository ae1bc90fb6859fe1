import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

let program: string | undefined;

/** Compiles the C twin once and runs it; resolves to the numbers that it printed, a line each. */
export function runTwin(...args: readonly string[]): readonly (readonly number[])[] {
  if (program === undefined) {
    program = join(mkdtempSync(join(tmpdir(), "baton-bench-")), "twin");
    const source = fileURLToPath(new URL("../c/twin.c", import.meta.url));
    execFileSync("cc", ["-O2", "-Wall", "-pthread", "-o", program, source], { stdio: "inherit" });
  }
  const output = execFileSync(program, args, { encoding: "utf8" });
  return output
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number));
}
