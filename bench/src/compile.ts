import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const programs = new Map<string, string>();

/** Compiles `c/NAME.c` once, with `libraries` as the compiler's words; its path. */
export function compiled(name: string, libraries: readonly string[] = []): string {
  let program = programs.get(name);
  if (program === undefined) {
    const directory = mkdtempSync(join(tmpdir(), "baton-bench-"));
    process.once("exit", () => rmSync(directory, { recursive: true }));
    program = join(directory, name);
    const source = fileURLToPath(new URL(`../c/${name}.c`, import.meta.url));
    execFileSync("cc", ["-O2", "-Wall", "-pthread", "-o", program, source, ...libraries], { stdio: "inherit" });
    programs.set(name, program);
  }
  return program;
}
