import { readFileSync } from "node:fs";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { beforeAll, describe } from "@jest/globals";
import { expectTap, linuxFiles, testbedFile } from "./support/testbed.js";

describe("a Linux guest with a virtio console", () => {
  let result: RunResult;
  beforeAll(async () => {
    const guest = await ensureLinuxGuest({ files: { script: readFileSync(testbedFile("agent.sh")) } });
    result = await runInTestbed({
      files: linuxFiles(guest, "console.mjs"),
      command: "node console.mjs",
      timeoutMs: 400_000,
      silenceMs: 120_000,
    });
  }, 900_000);

  expectTap(
    [
      "an agent answers on its port, its openings are events, the console echoes and knows its size",
      "baton has the ports on stdio and a socket; QMP tells of them",
    ],
    () => result,
  );
});
