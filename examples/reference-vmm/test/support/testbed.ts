import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type LinuxGuest, type RunResult, type TestbedFile, workspaceFiles } from "@baton/testbed";
import { expect, it } from "@jest/globals";

/** A file of `testbed/`: what runs inside. */
export const testbedFile = (name: string): string => fileURLToPath(new URL(`../testbed/${name}`, import.meta.url));

/** What every test with Linux guests takes along: the reference VMM, the guest, and scripts of `testbed/`. */
export function linuxFiles(guest: LinuxGuest, ...scripts: readonly string[]): TestbedFile[] {
  return [
    ...workspaceFiles("@baton/reference-vmm"),
    ...["tap.mjs", "ip.mjs", "linux-vm.mjs", ...scripts].map((path) => ({ path, from: testbedFile(path) })),
    { path: "bzImage", from: guest.bzImage },
    { path: "initrd", from: guest.initrd },
  ];
}

/** How long jest waits for a run that may take `timeoutMs`: a testbed that wedges is started a second time. */
export const setUpMs = (timeoutMs: number): number => 2 * timeoutMs + 100_000;

/** A program of this machine with its libraries. */
export function programFiles(program: string): TestbedFile[] {
  const libraries = execFileSync("ldd", [program], { encoding: "utf8" });
  const paths = [...libraries.matchAll(/=> (\/\S+) \(0x/g)].map((match) => match[1] as string);
  return [program, ...paths].map((path) => ({ path, from: path }));
}

/** Prints what a run's scripts have to say beside their results. */
export function printNotes({ serialLog }: RunResult): void {
  console.log(
    serialLog
      .split("\n")
      .filter((line) => line.startsWith("# "))
      .join("\n"),
  );
}

/** Turns a run's TAP into jest's tests: each named one must be there and have passed. */
export function expectTap(names: readonly string[], result: () => RunResult): void {
  it.each(names)("%s", (name) => {
    const { tap, serialLog, ending } = result();
    const test = tap.tests.find((candidate) => candidate.name === name);
    if (test === undefined)
      throw new Error(`the testbed (${ending}) did not run it; its log ends:\n${serialLog.slice(-3000)}`);
    if (!test.ok) throw new Error(test.diagnostics);
    expect(test.ok).toBe(true);
  });
}
