import { readFileSync } from "node:fs";
import { ensureLinuxGuest, type RunResult, runInTestbed, workspaceFiles } from "@baton/testbed";
import { beforeAll, describe, expect, it } from "@jest/globals";

const script = (name: string) => readFileSync(new URL(`./testbed/${name}`, import.meta.url));

describe("a Linux guest with a virtio console", () => {
  let result: RunResult;
  beforeAll(async () => {
    const guest = await ensureLinuxGuest({ files: { script: script("agent.sh").toString() } });
    result = await runInTestbed({
      files: [
        ...workspaceFiles("@baton/reference-vmm"),
        ...["tap.mjs", "linux-vm.mjs", "console.mjs"].map((path) => ({ path, from: script(path) })),
        { path: "bzImage", from: guest.bzImage },
        { path: "initrd", from: guest.initrd },
      ],
      command: "node console.mjs",
      timeoutMs: 400_000,
      silenceMs: 120_000,
    });
  }, 900_000);

  it.each([
    "an agent answers on its port, its openings are events, the console echoes and knows its size",
    "baton has the ports on stdio and a socket; QMP tells of them",
  ])("%s", (name) => {
    const { tap, serialLog, ending } = result;
    const test = tap.tests.find((candidate) => candidate.name === name);
    if (test === undefined)
      throw new Error(`the testbed (${ending}) did not run it; its log ends:\n${serialLog.slice(-3000)}`);
    if (!test.ok) throw new Error(test.diagnostics);
    expect(test.ok).toBe(true);
  });
});
