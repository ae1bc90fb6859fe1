import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureLinuxGuest, type RunResult, runInTestbed } from "@baton/testbed";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { rounds } from "../../../test/rounds.js";
import { compileStatic, makeRootImage } from "./support/root-image.js";
import { expectTap, linuxFiles, printNotes, setUpMs, testbedFile } from "./support/testbed.js";

/** The first program on the guest's own root. */
const INIT = `#!/bin/sh
echo "ROOT $(grep ' / ext4 ' /proc/mounts)"
for word in $(cat /proc/cmdline); do
  case $word in job=*|synced=*|seconds=*|mib=*|disks=*) eval "$word" ;; esac
done
case $job in
  flood)
    [ "$synced" -gt 0 ] && /bin/iomix verify /data/flood 2 $synced
    exec /bin/iomix flood /data/flood 2
    ;;
  mix)
    pids=
    for letter in $(echo $disks | sed 's/./& /g'); do
      /bin/iomix mix /dev/vd$letter $mib $seconds 2 & pids="$pids $!"
    done
    wait $pids
    ;;
esac
sync
poweroff -f
`;

describe("virtio-blk under Debian's kernel", () => {
  const stops = rounds({ quick: 3, full: 20 });
  const seconds = rounds({ quick: 4, full: 60 });
  const timeoutMs = 900_000 + stops * 150_000;
  const directory = mkdtempSync(join(tmpdir(), "baton-block-"));
  let result: RunResult;
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    const guest = await ensureLinuxGuest();
    compileStatic(testbedFile("iomix.c"), join(directory, "iomix"));
    const image = join(directory, "root.img");
    makeRootImage(directory, image, { sizeMiB: 24, init: INIT, files: { "bin/iomix": join(directory, "iomix") } });
    result = await runInTestbed({
      files: [...linuxFiles(guest, "block.mjs"), { path: "root.img", from: image }],
      command: "node block.mjs",
      env: { STOPS: String(stops), SECONDS: String(seconds) },
      artefacts: ["root.img"],
      timeoutMs,
      silenceMs: 180_000,
    });
    printNotes(result);
  }, setUpMs(timeoutMs));

  expectTap(
    [`a root file system survives ${stops} hard stops`, "mixed load with verification on every kind of ring"],
    () => result,
  );

  it("leaves a file system that fsck finds whole", () => {
    const image = join(directory, "after.img");
    writeFileSync(image, result.artefacts.get("root.img") as Uint8Array);
    // Replays the journal; anything beyond that would need a decision, and 4.
    const { status, stdout } = spawnSync("/sbin/e2fsck", ["-f", "-p", image], { encoding: "utf8" });
    expect({ status: (status ?? 99) <= 1, stdout }).toEqual({ status: true, stdout: expect.any(String) });
    expect(spawnSync("/sbin/e2fsck", ["-f", "-n", image]).status).toBe(0);
  });
});
