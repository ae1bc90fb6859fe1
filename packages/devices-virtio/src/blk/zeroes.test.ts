import { readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { O_RDONLY } from "@baton/linux";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import { DISK_BYTES, type DiskChanges, Disks } from "../../test/support/disks.js";
import type { BlkInfo, BlkStatisticsSnapshot } from "../index.js";
import { VIRTIO_BLK_S_IOERR as IOERR, VIRTIO_BLK_S_OK as OK, VIRTIO_BLK_T_OUT as OUT } from "./request.js";

const disks = new Disks(tmpdir());
afterEach(() => disks.close());
afterAll(() => disks.remove());

const CHUNK = 64 << 10;

/** Bytes that the host has allocated. */
const allocated = (path: string) => statSync(path).blocks * 512;

/** Writes zeroes over the middle of a disk of sevens; how much of the host's disk is given back. */
async function wipe(changes: DiskChanges): Promise<number> {
  const { driver, path, bench } = await disks.open(changes);
  const before = allocated(path);
  const answers = [4, 5, 6, 7].map((chunk) => driver.add(OUT, (chunk * CHUNK) / 512, new Uint8Array(CHUNK)));
  driver.finish(answers);
  expect(answers.map(({ status }) => status)).toEqual([OK, OK, OK, OK]);
  const wanted = new Uint8Array(DISK_BYTES).fill(7).fill(0, 4 * CHUNK, 8 * CHUNK);
  expect(readFileSync(path).equals(wanted)).toBe(true);
  const { write } = bench.command("statistics") as BlkStatisticsSnapshot;
  expect([write.operations, write.bytes]).toEqual([4, 4 * CHUNK]);
  return before - allocated(path);
}

describe("a write of zeroes", () => {
  it("is a write like any other with detect-zeroes off", async () => {
    expect(await wipe({ detectZeroes: "off" })).toBe(0);
  });

  it("keeps its place on the host's disk with on, and where discards are ignored", async () => {
    expect(await wipe({ detectZeroes: "on" })).toBeLessThanOrEqual(0);
    expect(await wipe({ detectZeroes: "unmap", discard: false })).toBeLessThanOrEqual(0);
  });

  it("gives its space back with unmap", async () => {
    expect(await wipe({ detectZeroes: "unmap" })).toBe(4 * CHUNK);
  });

  it("takes no space of a sparse image", async () => {
    const disk = await disks.open({ detectZeroes: "unmap" });
    const { path, driver, bench } = disk;
    bench.command("resize", { size: 4 * DISK_BYTES });
    const before = allocated(path);
    expect(driver.run(OUT, (2 * DISK_BYTES) / 512, new Uint8Array(CHUNK)).status).toBe(OK);
    expect(allocated(path)).toBe(before);
    expect((bench.command("info") as BlkInfo).detectZeroes).toBe("unmap");
  });

  it.each([0, 511, 4095, 4096, CHUNK - 1])("is none if byte %p is not zero", async (at) => {
    const { driver, path } = await disks.open({ detectZeroes: "unmap" });
    const before = allocated(path);
    const data = new Uint8Array(CHUNK);
    data[at] = 1;
    expect(driver.run(OUT, 0, data).status).toBe(OK);
    expect(readFileSync(path).subarray(0, CHUNK).equals(data)).toBe(true);
    expect(allocated(path)).toBe(before);
  });

  it("keeps its place among the writes around it", async () => {
    const { driver, path } = await disks.open({ detectZeroes: "on" });
    const sectors = [1, 0, 2, 0, 0, 3].map((byte) => new Uint8Array(512).fill(byte));
    const answers = sectors.map((data, sector) => driver.add(OUT, sector, data));
    driver.finish(answers);
    expect(
      readFileSync(path)
        .subarray(0, 6 * 512)
        .equals(Buffer.concat(sectors)),
    ).toBe(true);
  });

  it("fails as a write does", async () => {
    const { driver, bench } = await disks.open({ detectZeroes: "unmap", flags: O_RDONLY, writeError: "report" });
    expect(driver.run(OUT, 0, new Uint8Array(512)).status).toBe(IOERR);
    const data = { operation: "write", action: "report", nospace: false, reason: "EBADF" };
    expect(bench.events).toEqual([{ name: "io-error", data }]);
    expect((bench.command("statistics") as BlkStatisticsSnapshot).write).toMatchObject({ operations: 0, failed: 1 });
  });

  it("of nothing at all is answered", async () => {
    const { driver } = await disks.open({ detectZeroes: "unmap" });
    expect(driver.run(OUT, 0, new Uint8Array(0)).status).toBe(OK);
  });
});
