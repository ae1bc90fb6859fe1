import { spawnSync } from "node:child_process";
import { readFileSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addSeals, F_SEAL_GROW, F_SEAL_SHRINK, ftruncate, memfdCreate, O_CREAT, O_RDONLY, O_RDWR } from "@baton/linux";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import { DISK_BYTES, DISK_FEATURES, DISK_SECTORS, type Disk, Disks } from "../../test/support/disks.js";
import { attachLoop, detachLoop, loopAbsence } from "../../test/support/loop-device.js";
import type { BlkInfo } from "../index.js";
import { OVERLAY_DATA, OVERLAY_MAX_SIZE, writeOverlayHeader } from "./image/overlay-format.js";
import {
  VIRTIO_BLK_T_IN as IN,
  VIRTIO_BLK_S_IOERR as IOERR,
  VIRTIO_BLK_S_OK as OK,
  VIRTIO_BLK_T_OUT as OUT,
} from "./request.js";

const disks = new Disks(tmpdir());
afterEach(() => disks.close());
afterAll(() => disks.remove());

const refused = (problem: RegExp) =>
  expect.objectContaining({
    code: "BLOCK_RESIZE",
    message: expect.stringMatching(problem),
    details: expect.objectContaining({ device: "bench" }),
  });

/** A disk on an overlay over an image. */
async function overlay(): Promise<Disk> {
  const base = disks.image();
  const path = join(disks.directory, "disk.ovl");
  const fd = disks.fd(path, O_RDWR | O_CREAT);
  truncateSync(path, 0);
  writeOverlayHeader(fd, { size: DISK_BYTES, baseSize: DISK_BYTES, baseChanged: 0n });
  return disks.open({ path, image: { kind: "overlay", fd, path, baseFd: disks.fd(base, O_RDONLY) } });
}

/** What the guest and the embedder see, and how often the guest was told that something has changed. */
const seen = ({ bench }: Disk) => ({
  sectors: bench.read(0x100),
  size: (bench.command("info") as BlkInfo).size,
  generation: bench.read(0xfc),
});

describe("the size of a disk", () => {
  it.each<[number | undefined, RegExp]>([
    [DISK_BYTES + 1, /^bench: a disk has whole sectors of 512 bytes, not 1048577 bytes$/],
    [-512, /whole sectors of 512 bytes, not -512/],
    [0.5, /whole sectors/],
    [Number.NaN, /not NaN/],
    [Number.POSITIVE_INFINITY, /not Infinity/],
    [2 ** 60, /whole sectors/],
  ])("is not made %p, which changes nothing", async (size, problem) => {
    const disk = await disks.open();
    const before = seen(disk);
    expect(() => disk.bench.command("resize", { size })).toThrow(refused(problem));
    expect(seen(disk)).toEqual(before);
    expect(statSync(disk.path).size).toBe(DISK_BYTES);
    expect(disk.bench.interrupts).toBe(0);
  });

  it.each<unknown>(["1048576", 1048576n, null, {}])("is not made %p, which is no number", async (size) => {
    const { bench } = await disks.open();
    expect(() => bench.command("resize", { size })).toThrow(refused(/whole sectors/));
  });

  it("stays where the host refuses another", async () => {
    using file = memfdCreate("sealed", { sealable: true });
    ftruncate(file, DISK_BYTES);
    addSeals(file, F_SEAL_GROW | F_SEAL_SHRINK);
    const disk = await disks.open({ image: { kind: "raw", fd: file.raw, bufferedFd: -1 } });
    for (const size of [2 * DISK_BYTES, 512]) {
      const problem = new RegExp(`cannot hold ${size} bytes: operation not permitted \\(EPERM\\)`);
      expect(() => disk.bench.command("resize", { size })).toThrow(refused(problem));
      expect(seen(disk)).toMatchObject({ sectors: DISK_SECTORS, size: DISK_BYTES });
    }
    disks.close();
  });

  it("of one that is read-only stays, but may be looked at anew", async () => {
    const disk = await disks.open({ readOnly: true, bits: DISK_FEATURES & ~(3n << 13n) });
    expect(() => disk.bench.command("resize", { size: 2 * DISK_BYTES })).toThrow(refused(/the disk is read-only/));
    truncateSync(disk.path, 2 * DISK_BYTES);
    expect(disk.bench.command("resize")).toBe(2 * DISK_BYTES);
    expect(seen(disk).sectors).toBe(2 * DISK_SECTORS);
  });

  it("may shrink, and the guest does not reach what it had", async () => {
    const disk = await disks.open();
    expect(disk.bench.command("resize", { size: DISK_BYTES / 2 })).toBe(DISK_BYTES / 2);
    expect(statSync(disk.path).size).toBe(DISK_BYTES / 2);
    expect(disk.driver.run(IN, DISK_SECTORS / 2 - 1, 512).status).toBe(OK);
    expect(disk.driver.run(OUT, DISK_SECTORS / 2, new Uint8Array(512)).status).toBe(IOERR);
    expect(statSync(disk.path).size).toBe(DISK_BYTES / 2);
  });
});

describe("the size of an overlay", () => {
  it.each([
    [DISK_BYTES - 512, /the base of the overlay has 1048576 bytes, its disk cannot have 1048064/],
    [0, /the base of the overlay/],
    [OVERLAY_MAX_SIZE + 512, /at most 17592186044416 bytes/],
  ])("is not made %p, which changes nothing", async (size, problem) => {
    const disk = await overlay();
    const before = seen(disk);
    const bytes = readFileSync(disk.path);
    expect(() => disk.bench.command("resize", { size })).toThrow(refused(problem));
    expect(seen(disk)).toEqual(before);
    expect(readFileSync(disk.path).equals(bytes)).toBe(true);
  });

  it("grows beyond its base and comes back to it, with zeroes there the next time", async () => {
    const disk = await overlay();
    const { bench, driver } = disk;
    bench.command("resize", { size: 2 * DISK_BYTES });
    expect(driver.run(OUT, 2 * DISK_SECTORS - 1, new Uint8Array(512).fill(9)).status).toBe(OK);
    expect(driver.run(OUT, 1, new Uint8Array(512).fill(8)).status).toBe(OK);
    bench.command("resize", { size: DISK_BYTES });
    expect(statSync(disk.path).size).toBe(OVERLAY_DATA + DISK_BYTES);
    expect(driver.run(IN, DISK_SECTORS, 512).status).toBe(IOERR);
    bench.command("resize", { size: 2 * DISK_BYTES });
    expect(driver.run(IN, 2 * DISK_SECTORS - 1, 512).data).toEqual(new Uint8Array(512));
    const { data } = driver.run(IN, 0, 1536);
    expect([data[0], data[512], data[1024]]).toEqual([7, 8, 7]);
  });
});

const absent = loopAbsence();
const withLoop = absent === "" ? it : it.skip;

describe(`the size of a block device${absent}`, () => {
  withLoop("is its own, as with QEMU: what is asked for is the least that it must be", async () => {
    const file = disks.image();
    const device = attachLoop(file);
    try {
      const disk = await disks.open({ path: device });
      expect(() => disk.bench.command("resize", { size: 2 * DISK_BYTES })).toThrow(
        refused(/the block device has 1048576 bytes, not 2097152; A block device must be grown first/),
      );
      expect(disk.bench.command("resize", { size: DISK_BYTES / 2 })).toBe(DISK_BYTES);
      truncateSync(file, 3 * DISK_BYTES);
      spawnSync("losetup", ["--set-capacity", device]);
      expect(disk.bench.command("resize", { size: 2 * DISK_BYTES })).toBe(3 * DISK_BYTES);
      expect(seen(disk).sectors).toBe(3 * DISK_SECTORS);
      expect(disk.driver.run(OUT, 3 * DISK_SECTORS - 1, new Uint8Array(512)).status).toBe(OK);
    } finally {
      disks.close();
      detachLoop(device);
    }
  });
});
