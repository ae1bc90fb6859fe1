import { execFileSync } from "node:child_process";
import { compiled } from "./compile.js";

/** Runs the C twin; resolves to the numbers that it printed, a line each. */
export function runTwin(...args: readonly string[]): readonly (readonly number[])[] {
  const output = execFileSync(compiled("twin"), args, { encoding: "utf8" });
  return output
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number));
}
