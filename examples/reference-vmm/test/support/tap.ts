import type { RunResult } from "@baton/testbed";
import { expect, it } from "@jest/globals";

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
