import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { virtioBlk } from "@baton/devices-virtio";
import { blkbenchCmdline, guestPath, parseBlkbench } from "@baton/guests";
import { afterAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { commandTable } from "../src/command/table.js";
import { createVm, serial } from "../src/index.js";

const directory = mkdtempSync(join(tmpdir(), "baton-block-"));
const path = join(directory, "disk.img");
writeFileSync(path, new Uint8Array(8 << 20));
afterAll(() => rmSync(directory, { recursive: true }));

describeKvm("a disk on an iothread", () => {
  // More in flight than the device serves at once, so that it puts work off between two polls.
  it.each([
    [0, 8],
    [32_768, 8],
    [32_768, 8],
    [32_768, 128],
    [32_768, 128],
  ])("serves every request of a guest that waits for nothing else (polling %i ns, depth %i)", async (maxNs, depth) => {
    let output = "";
    await using vm = await createVm({
      memory: { sizeMiB: 64 },
      boot: { kernel: guestPath("blkbench"), cmdline: blkbenchCmdline({ mode: "randread", depth, ops: 20_000 }) },
      discovery: "cmdline",
      iothreads: [{ id: "io", polling: { maxNs } }],
      devices: [
        serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) }),
        virtioBlk({ id: "disk", path, iothread: "io" }),
      ],
    });
    await vm.start();
    const outcome = await vm.wait({ signal: AbortSignal.timeout(30_000) });
    expect(outcome.reason).toBe("debug-exit");
    expect(parseBlkbench(output)).toMatchObject({ errors: 0 });
  });

  it("is told of with the way in which its requests are carried out", async () => {
    await using vm = await createVm({
      memory: { sizeMiB: 64 },
      boot: { kernel: guestPath("blkbench") },
      devices: [virtioBlk({ id: "disk", path, readOnly: true, detectZeroes: "unmap", aio: "threads" })],
    });
    const call = { signal: new AbortController().signal, afterReply: () => {} };
    expect(await commandTable.execute({ vm, quit: () => {} }, "query-block", {}, call)).toMatchObject([
      { device: "disk", inserted: { file: path, ro: true, aio: "threads", detect_zeroes: "unmap" } },
    ]);
  });
});
