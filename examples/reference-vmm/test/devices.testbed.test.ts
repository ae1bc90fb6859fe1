import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureLinuxGuest, type RunResult, runInTestbed, workspaceFiles } from "@baton/testbed";
import { afterAll, beforeAll, describe } from "@jest/globals";
import { compileStatic } from "./support/root-image.js";
import { rounds } from "./support/rounds.js";
import { expectTap } from "./support/tap.js";

const testbedFile = (name: string) => fileURLToPath(new URL(`./testbed/${name}`, import.meta.url));

describe("Linux with its own drivers", () => {
  const directory = mkdtempSync(join(tmpdir(), "baton-devices-"));
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const vsock = join(directory, "vsock");
    compileStatic(testbedFile("vsock.c"), vsock);
    const script = readFileSync(testbedFile("devices.sh"));
    const guest = await ensureLinuxGuest({ files: { script, "bin/vsock": readFileSync(vsock) } });
    result = await runInTestbed({
      files: [
        ...workspaceFiles("@baton/reference-vmm"),
        ...["tap.mjs", "linux-vm.mjs", "devices.mjs"].map((path) => ({ path, from: testbedFile(path) })),
        { path: "vsock", from: vsock },
        { path: "bzImage", from: guest.bzImage },
        { path: "initrd", from: guest.initrd },
      ],
      command: "node devices.mjs",
      cpus: 2,
      env: { MEGABYTES: String(rounds({ quick: 8, full: 100 })) },
      timeoutMs: 900_000,
      silenceMs: 160_000,
    });
    const notes = result.serialLog.split("\n").filter((line) => line.startsWith("# "));
    console.log(notes.join("\n"));
  }, 1_900_000);

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
