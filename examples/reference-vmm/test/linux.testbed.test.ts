import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureLinuxGuest, type RunResult, runInTestbed, type TestbedFile } from "@baton/testbed";
import { afterAll, beforeAll, describe } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { compileStatic } from "./support/root-image.js";
import { expectTap, linuxFiles, printNotes, programFiles, testbedFile } from "./support/testbed.js";

/** The guest's answer to the power button. */
const BUTTON_SCRIPT = `#!/bin/sh
exec 3< /dev/input/event0
echo WAITING FOR THE BUTTON
head -c 24 <&3 > /dev/null
poweroff -f
`;

async function files(): Promise<TestbedFile[]> {
  const guest = await ensureLinuxGuest({ files: { script: BUTTON_SCRIPT } });
  return [...linuxFiles(guest, "boot.mjs", "binary.mjs"), { path: "vmlinux", from: guest.vmlinux }];
}

describe("Debian's kernel on Baton", () => {
  let result: RunResult;
  beforeAll(async () => {
    result = await runInTestbed({
      files: await files(),
      command: "node boot.mjs",
      timeoutMs: 600_000,
      silenceMs: 120_000,
    });
  }, 1_300_000);
  expectTap(
    [
      "bzImage with 1 vCPUs reaches user space and powers off",
      "bzImage with 4 vCPUs reaches user space and powers off",
      "vmlinux with 1 vCPUs reaches user space and powers off",
      "vmlinux with 4 vCPUs reaches user space and powers off",
      "a guest that reboots is reset, and boots again",
      "a reset from outside boots the guest again",
      "the power button powers the guest down",
      "a panic becomes an event and pauses the VM",
    ],
    () => result,
  );
});

describe("the baton binary with Linux guests", () => {
  let result: RunResult;
  beforeAll(async () => {
    result = await runInTestbed({
      files: await files(),
      command: "node binary.mjs",
      timeoutMs: 600_000,
      silenceMs: 120_000,
    });
  }, 1_300_000);
  expectTap(
    [
      "system_powerdown through QMP powers the guest down; the exit code is 0",
      "a panic is an event and, where it ends the VM, exit code 2",
      "a reboot is an event; with -no-reboot it ends the VM with exit code 0",
      "system_reset through QMP boots the guest again; quit ends it with exit code 0",
    ],
    () => result,
  );
});

describe("the state of a Linux guest", () => {
  // Each encoding has its turn.
  const moves = rounds({ quick: 9, full: 300 });
  const directory = mkdtempSync(join(tmpdir(), "baton-move-"));
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const vsock = join(directory, "vsock");
    compileStatic(testbedFile("vsock.c"), vsock);
    const script = readFileSync(testbedFile("move.sh"));
    const guest = await ensureLinuxGuest({ files: { script, "bin/vsock": readFileSync(vsock) } });
    result = await runInTestbed({
      files: [...linuxFiles(guest, "move.mjs"), ...programFiles("/usr/sbin/ip")],
      command: "node move.mjs",
      env: { MOVES: String(moves) },
      timeoutMs: 300_000 + 6000 * moves,
      silenceMs: 120_000,
    });
    printNotes(result);
  }, 4_500_000);
  expectTap([`a Linux guest with 4 vCPUs and all devices under load is moved ${moves} times`], () => result);
});
