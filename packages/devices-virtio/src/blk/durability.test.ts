import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from "@jest/globals";
import type { BlkState } from "./state.js";

/** Descriptors of fdatasync(2), in order. */
const synced: number[] = [];
const linux = await import("@baton/linux");
jest.unstable_mockModule("@baton/linux", () => ({
  ...linux,
  fdatasync: (fd: number) => {
    synced.push(fd);
    linux.fdatasync(fd);
  },
}));
const { DISK_BYTES, DISK_FEATURES, Disks, range } = await import("../../test/support/disks.js");
const { openImage } = await import("./image/open.js");
const { writeOverlayHeader } = await import("./image/overlay-format.js");
const request = await import("./request.js");

const { VIRTIO_BLK_T_IN: IN, VIRTIO_BLK_T_OUT: OUT, VIRTIO_BLK_S_OK: OK, VIRTIO_BLK_T_FLUSH: FLUSH } = request;
/** Where the driver finds the write cache, in the registers of its transport. */
const WRITEBACK = 0x100 + 32;

const disks = new Disks(tmpdir());
beforeEach(() => {
  synced.length = 0;
});
afterEach(() => disks.close());
afterAll(() => disks.remove());

const sector = (byte: number) => new Uint8Array(512).fill(byte);

/** A new overlay over a new image, which is all 7. */
function overlayOptions() {
  const path = join(disks.directory, "disk.ovl");
  rmSync(path, { force: true });
  const baseFd = disks.fd(disks.image(), linux.O_RDONLY);
  const fd = disks.fd(path, linux.O_RDWR | linux.O_CREAT);
  writeOverlayHeader(fd, { size: DISK_BYTES, baseSize: DISK_BYTES, baseChanged: 0n });
  return { kind: "overlay", fd, path, baseFd } as const;
}

/** The first byte of the disk by its files, without what a device only remembers. */
function inFiles(overlay: ReturnType<typeof overlayOptions>): number | undefined {
  const bytes = new Uint8Array(512);
  const vector = new linux.IoVector();
  vector.add(Number(linux.addressOf(bytes)), 512);
  openImage(overlay).read(vector, 0);
  return bytes[0];
}

describe("the write cache", () => {
  it("keeps writes back until a flush", async () => {
    const { bench, driver } = await disks.open();
    expect(bench.read(WRITEBACK, 1)).toBe(1);
    for (let i = 0; i < 3; i++) expect(driver.run(OUT, i, sector(i)).status).toBe(OK);
    expect(synced).toEqual([]);
    expect(driver.run(FLUSH, 0).status).toBe(OK);
    expect(synced).toHaveLength(1);
  });

  it("is emptied when the guest turns it off, and keeps nothing back then", async () => {
    const { bench, driver } = await disks.open();
    expect(driver.run(OUT, 0, sector(1)).status).toBe(OK);
    bench.write(WRITEBACK, 0, 1);
    expect(synced).toHaveLength(1);
    expect(bench.command("info")).toMatchObject({ writeback: false });
    for (let i = 0; i < 3; i++) {
      expect(driver.run(OUT, 10 * i, sector(i)).status).toBe(OK);
      expect(synced).toHaveLength(2 + i);
    }
    expect(driver.run(request.VIRTIO_BLK_T_WRITE_ZEROES, 0, range(8, 8)).status).toBe(OK);
    expect(driver.run(request.VIRTIO_BLK_T_DISCARD, 0, range(8, 8)).status).toBe(OK);
    expect(synced).toHaveLength(6);
    expect(driver.run(IN, 0, 512).status).toBe(OK);
    expect(synced).toHaveLength(6);
    bench.write(WRITEBACK, 1, 1);
    expect(driver.run(OUT, 0, sector(5)).status).toBe(OK);
    expect(synced).toHaveLength(6);
  });

  it("does not exist for a driver that does not know of it", async () => {
    const { bench, driver } = await disks.open({ bits: DISK_FEATURES & ~((1n << 9n) | (1n << 11n)) });
    expect(bench.read(WRITEBACK, 1)).toBe(0);
    expect(driver.run(OUT, 0, sector(1)).status).toBe(OK);
    expect(synced).toHaveLength(1);
  });

  it("stays off in a device that takes over", async () => {
    const disk = await disks.open();
    disk.bench.write(WRITEBACK, 0, 1);
    const { bench, driver } = await disks.move(disk, {});
    bench.call("resume");
    expect(bench.read(WRITEBACK, 1)).toBe(0);
    synced.length = 0;
    expect(driver.run(OUT, 0, sector(1)).status).toBe(OK);
    expect(synced).toHaveLength(1);
  });

  it("that is off leaves nothing to lose: a crash right after a write loses none of it", async () => {
    const overlay = overlayOptions();
    const { bench, driver } = await disks.open({ path: overlay.path, image: overlay });
    expect(driver.run(OUT, 0, sector(1)).status).toBe(OK);
    expect(inFiles(overlay)).toBe(7);
    bench.write(WRITEBACK, 0, 1);
    expect(inFiles(overlay)).toBe(1);
    expect(driver.run(OUT, 0, sector(2)).status).toBe(OK);
    expect(inFiles(overlay)).toBe(2);
  });
});

describe("a hand-over", () => {
  it("takes along what an overlay remembers, and has neither side write it for that", async () => {
    const image = overlayOptions();
    const first = await disks.open({ path: image.path, image });
    expect(first.driver.run(OUT, 0, sector(1)).status).toBe(OK);
    const { bench, driver } = await disks.move(first, { image });
    expect([inFiles(image), synced]).toEqual([7, []]);
    bench.call("resume");
    expect(driver.run(IN, 0, 512).data[0]).toBe(1);
    expect(driver.run(FLUSH, 0).status).toBe(OK);
    expect(inFiles(image)).toBe(1);
  });

  it("leaves the files alone in a device that took a state and did not go on with it", async () => {
    const image = overlayOptions();
    const first = await disks.open({ path: image.path, image });
    expect(first.driver.run(OUT, 0, sector(1)).status).toBe(OK);
    const state = first.bench.save();
    const { bench } = await disks.open({ path: image.path, image });
    bench.call("load", state);
    bench.close();
    expect([inFiles(image), synced]).toEqual([7, []]);
    first.bench.call("resume");
    first.bench.close();
    expect(inFiles(image)).toBe(1);
  });

  it.each<[string, unknown]>([
    ["device/image", null],
    ["device/image/bitmap", {}],
    ["device/image/bitmap", [{}, {}]],
    ["device/image/bitmap[0]/block", [{ block: 1, bits: new Uint8Array(1) }]],
    ["device/image/bitmap[0]/bits", [{ block: 0, bits: new Uint8Array(4097) }]],
    ["device/image/bitmap[0]/bits", [{ block: 0, bits: "11" }]],
  ])("refuses a wrong %s", async (field, bitmap) => {
    const image = overlayOptions();
    const { bench } = await disks.open({ path: image.path, image });
    const state = bench.save();
    const own = { ...(state.device as BlkState), image: bitmap === null ? null : { bitmap } };
    const details = { device: "bench", field };
    expect(() => bench.call("load", { ...state, device: own })).toThrow(
      expect.objectContaining({ code: "DEVICE_STATE", details }),
    );
  });
});
