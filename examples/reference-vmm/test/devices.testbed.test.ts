import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { afterAll, beforeAll, describe } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { compileStatic } from "./support/root-image.js";
import { expectTap, linuxFiles, printNotes, setUpMs, testbedFile } from "./support/testbed.js";

describe("Linux with its own drivers", () => {
  const directory = mkdtempSync(join(tmpdir(), "baton-devices-"));
  const megabytes = rounds({ quick: 8, full: 100 });
  const timeoutMs = 800_000 + megabytes * 20_000;
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const vsock = join(directory, "vsock");
    compileStatic(testbedFile("vsock.c"), vsock);
    const script = readFileSync(testbedFile("devices.sh"));
    const guest = await ensureLinuxGuest({ files: { script, "bin/vsock": readFileSync(vsock) } });
    result = await runInTestbed({
      files: [...linuxFiles(guest, "devices.mjs"), { path: "vsock", from: vsock }],
      command: "node devices.mjs",
      env: { MEGABYTES: String(megabytes) },
      timeoutMs,
      silenceMs: 160_000,
    });
    printNotes(result);
  }, setUpMs(timeoutMs));

  expectTap(
    [
      "Linux has its entropy from the device",
      "streams through user space carry every byte both ways at once, and go on when the machine moves",
      "the balloon takes memory from Linux, and gives it back",
      "streams through vhost-vsock carry every byte both ways at once",
      "a move breaks the connections of vhost-vsock, which the guest is told, and new ones are made",
    ],
    () => result,
  );
});
