import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "@jest/globals";
import type { BlkDeviceOptions } from "./options.js";
import { type VirtioBlkOptions, virtioBlk } from "./virtio-blk.js";

const directory = mkdtempSync(join(tmpdir(), "baton-virtio-blk-"));
const path = join(directory, "disk.img");
writeFileSync(path, new Uint8Array(4096));
afterAll(() => rmSync(directory, { recursive: true }));

/** What the device is made with. */
function made(options: Partial<VirtioBlkOptions>): BlkDeviceOptions {
  const opened = virtioBlk({ id: "d", path, ...options }).open((_name, _id, open) => open(), { ramBytes: 0 });
  void opened.close(false);
  return opened.options as BlkDeviceOptions;
}

describe("virtioBlk", () => {
  it.each<[Partial<VirtioBlkOptions>, string]>([
    [{}, "threads"],
    [{ direct: true }, "prefer-io_uring"],
    [{ direct: true, aio: "threads" }, "threads"],
    [{ direct: true, aio: "io_uring" }, "io_uring"],
    [{ aio: "io_uring" }, "io_uring"],
  ])("chooses who carries requests out: %p", (options, aio) => {
    expect(made(options).image).toMatchObject({ kind: "raw", aio });
  });

  it("looks for zeroes only if it is told to", () => {
    expect(made({}).detectZeroes).toBe("off");
    expect(made({ detectZeroes: "unmap" }).detectZeroes).toBe("unmap");
  });

  it.each<[Partial<VirtioBlkOptions>, RegExp]>([
    [{ overlay: "/x", aio: "io_uring" }, /d: io_uring is not for overlays/],
    [{ overlay: "/x", direct: true }, /an overlay can be neither direct nor read-only/],
    [{ queues: 33 }, /queues must be 1 to 32, not 33/],
    [{ queueSize: 100 }, /queueSize must be a power of two/],
    [{ serial: "a".repeat(21) }, /has more than 20 bytes/],
  ])("refuses %p", (options, message) => {
    expect(() => virtioBlk({ id: "d", path, ...options })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });
});
