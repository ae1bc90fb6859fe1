import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { afterAll, beforeAll, describe } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { expectTap, linuxFiles, printNotes, programFiles, setUpMs, testbedFile } from "./support/testbed.js";

/** Both have libraries that the testbed lacks; busybox has no such programs. */
const PROGRAMS = ["/usr/sbin/ip", "/usr/bin/socat"];

describe("hot-plug on a Linux guest", () => {
  const times = rounds({ quick: 2, full: 20 });
  const timeoutMs = 500_000 + times * 50_000;
  const directory = mkdtempSync(join(tmpdir(), "baton-hotplug-"));
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const given = join(directory, "given");
    execFileSync("mkdir", [given]);
    writeFileSync(join(given, "given"), Buffer.alloc(1 << 20, "what the host has put there\n"));
    const [disk, root] = [join(directory, "disk.img"), join(directory, "root.img")];
    execFileSync("/sbin/mkfs.ext4", ["-q", "-F", "-d", given, disk, `${12 + 2 * times}M`], { stdio: "inherit" });
    execFileSync("/sbin/mkfs.ext4", ["-q", "-F", root, "4M"], { stdio: "inherit" });
    const guest = await ensureLinuxGuest({ files: { script: readFileSync(testbedFile("hotplug.sh")) } });
    result = await runInTestbed({
      files: [
        ...linuxFiles(guest, "hotplug.mjs", "socat-session.mjs"),
        ...PROGRAMS.flatMap(programFiles),
        { path: "disk.img", from: disk },
        { path: "root.img", from: root },
      ],
      command: "load-modules loop && node hotplug.mjs",
      env: { TIMES: String(times) },
      timeoutMs,
      silenceMs: 160_000,
    });
    printNotes(result);
  }, setUpMs(timeoutMs));

  expectTap(
    [
      "the guest finds empty disks and cards without a cable, beside its root",
      `a disk is plugged in, mounted, read, written, unmounted and unplugged, ${times} times`,
      `a network card is plugged in, carries traffic and is unplugged, ${times} times`,
      "each refusal has its sentence, and leaves the slots as they were",
      "a machine without slots boots with its root alone",
    ],
    () => result,
  );
});
