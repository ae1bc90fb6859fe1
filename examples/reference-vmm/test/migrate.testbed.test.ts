import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { afterAll, beforeAll, describe } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { expectTap, linuxFiles, printNotes, programFiles, testbedFile } from "./support/testbed.js";

describe("a Linux guest that goes to another process", () => {
  const ways = ["a file", "a UNIX socket", "TCP"].slice(0, rounds({ quick: 1, full: 3 }));
  const directory = mkdtempSync(join(tmpdir(), "baton-migrate-"));
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const disk = join(directory, "disk.img");
    execFileSync("/sbin/mkfs.ext4", ["-q", "-F", disk, "16M"], { stdio: "inherit" });
    const guest = await ensureLinuxGuest({ files: { script: readFileSync(testbedFile("migrate.sh")) } });
    result = await runInTestbed({
      files: [...linuxFiles(guest, "migrate.mjs"), ...programFiles("/usr/sbin/ip"), { path: "disk.img", from: disk }],
      command: "load-modules bridge && node migrate.mjs",
      env: { WAYS: String(ways.length) },
      timeoutMs: 900_000,
      silenceMs: 200_000,
    });
    printNotes(result);
  }, 1_300_000);

  expectTap(
    [
      "a Linux guest with 4 vCPUs uses its disk, its card and its clocks",
      ...ways.map((way) => `it goes on in another process, through ${way}`),
      "its clocks never stepped back, and its steps are whole",
    ],
    () => result,
  );
});
