import { execFileSync } from "node:child_process";
import { readFileSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { O_RDONLY } from "@baton/linux";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import { DISK_BYTES, DISK_FEATURES, DISK_SECTORS, type DiskChanges, Disks, range } from "../../test/support/disks.js";
import type { BlkInfo, BlkStatisticsSnapshot } from "../index.js";
import {
  VIRTIO_BLK_T_IN as IN,
  VIRTIO_BLK_S_IOERR as IOERR,
  VIRTIO_BLK_S_OK as OK,
  VIRTIO_BLK_T_OUT as OUT,
  VIRTIO_BLK_S_UNSUPP as UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from "./request.js";

/** Bytes and sectors of an image. */
const SIZE = DISK_BYTES;
const SECTORS = DISK_SECTORS;
const FEATURES = DISK_FEATURES;
const STATUS_NEEDS_RESET = 0x40;

const disks = new Disks(tmpdir());
const disk = (changes: DiskChanges = {}) => disks.open(changes);
afterEach(() => disks.close());
afterAll(() => disks.remove());

describe("a disk", () => {
  it("reads and writes", async () => {
    const { driver, path } = await disk();
    expect(driver.run(OUT, 2, new Uint8Array(1024).fill(9)).status).toBe(OK);
    const { status, data } = driver.run(IN, 1, 2048);
    expect(status).toBe(OK);
    expect([data[0], data[512], data[1535], data[1536]]).toEqual([7, 9, 9, 7]);
    expect(driver.run(VIRTIO_BLK_T_FLUSH, 0).status).toBe(OK);
    expect(readFileSync(path)[1024]).toBe(9);
  });

  it("tells its serial number", async () => {
    const { driver } = await disk();
    const { data } = driver.run(VIRTIO_BLK_T_GET_ID, 0, 20);
    expect(Buffer.from(data).toString("latin1").replace(/\0+$/, "")).toBe("SERIAL");
  });

  it("writes no more than its serial number, however much room there is for it", async () => {
    const { bench, driver } = await disk();
    const [header, end, room] = [0x110_0000, 0x110_1000, 0x200_0000];
    bench.memory.writeU32(header, VIRTIO_BLK_T_GET_ID);
    bench.memory.fill(room, 4096, 0x55);
    // The same 32 MiB over and over, almost 2 GiB in all.
    const parts = Array.from({ length: 60 }, () => ({ gpa: room, length: 32 << 20, writable: true }));
    const whole = [{ gpa: header, length: 16, writable: false }, ...parts, { gpa: end, length: 1, writable: true }];
    bench.drivers[0]?.add(whole);
    const dirty = bench.block.dirty.reader("test");
    bench.kick(0);
    bench.settle();
    expect(bench.drivers[0]?.rings.take()).toMatchObject({ length: 20 });
    expect(bench.memory.readU8(end)).toBe(OK);
    expect(Buffer.from(bench.memory.read(room, 24)).toString("latin1")).toBe(`SERIAL${"\0".repeat(14)}UUUU`);
    // The page of the name, that of the status, and what the queue needs.
    expect(dirty.count()).toBeLessThan(8);
    dirty.close();
    expect(driver.run(VIRTIO_BLK_T_GET_ID, 0, 19).status).toBe(IOERR);
  });

  it("fills with zeroes, and gives discarded space back", async () => {
    const { driver, path } = await disk();
    expect(driver.run(VIRTIO_BLK_T_WRITE_ZEROES, 0, range(8, 8)).status).toBe(OK);
    expect(driver.run(VIRTIO_BLK_T_DISCARD, 0, range(64, 1024)).status).toBe(OK);
    const bytes = readFileSync(path);
    expect([bytes[8 * 512 - 1], bytes[8 * 512], bytes[16 * 512 - 1], bytes[16 * 512]]).toEqual([7, 0, 0, 7]);
    expect(execFileSync("stat", ["-c", "%b", path], { encoding: "utf8" }).trim()).not.toBe(`${SECTORS}`);
  });

  it.each<[string, number, number, Uint8Array | number, number]>([
    ["a read beyond the end", IN, SECTORS - 1, 1024, IOERR],
    ["a read far beyond the end", IN, 2 ** 44, 512, IOERR],
    ["a read of half a sector", IN, 0, 100, IOERR],
    ["a write beyond the end", OUT, SECTORS, new Uint8Array(512), IOERR],
    ["an unknown request", 99, 0, 512, UNSUPP],
    ["a discard of no whole segment", VIRTIO_BLK_T_DISCARD, 0, new Uint8Array(17), UNSUPP],
    ["a discard with flags", VIRTIO_BLK_T_DISCARD, 0, range(0, 1, 1), UNSUPP],
    ["a discard beyond the end", VIRTIO_BLK_T_DISCARD, 0, range(SECTORS - 1, 2), IOERR],
    ["zeroes at a sector that no disk has", VIRTIO_BLK_T_WRITE_ZEROES, 0, range(2 ** 50, 1), UNSUPP],
  ])("answers %s with an error, and goes on", async (_, type, sector, data, status) => {
    const { driver, bench } = await disk();
    expect(driver.run(type, sector, data).status).toBe(status);
    expect(driver.run(IN, 0, 512).status).toBe(OK);
    expect(bench.status & STATUS_NEEDS_RESET).toBe(0);
  });

  it.each([
    ["no header", [{ length: 8, writable: false }]],
    ["no place for the status", [{ length: 16, writable: false }]],
  ])("asks for a reset after a request with %s", async (_, parts) => {
    const { bench } = await disk();
    bench.drivers[0]?.add(parts.map((part) => ({ gpa: 0x110_0000, ...part })));
    bench.kick(0);
    bench.settle();
    expect(bench.status & STATUS_NEEDS_RESET).toBe(STATUS_NEEDS_RESET);
    expect(bench.events).toEqual([expect.objectContaining({ name: "needs-reset" })]);
  });

  it("is not written when it is read-only", async () => {
    const { driver, bench, path } = await disk({ readOnly: true, bits: FEATURES & ~(3n << 13n) });
    expect(bench.offered & (1n << 5n)).not.toBe(0n);
    expect(driver.run(OUT, 0, new Uint8Array(512)).status).toBe(IOERR);
    expect(driver.run(VIRTIO_BLK_T_DISCARD, 0, range(0, 1)).status).toBe(IOERR);
    expect(readFileSync(path)[0]).toBe(7);
  });

  it("becomes larger while it is used, and tells the driver", async () => {
    const { driver, bench } = await disk();
    const generation = bench.read(0xfc);
    bench.command("resize", { size: 2 * SIZE });
    bench.settle();
    expect(bench.read(0x100)).toBe(2 * SECTORS);
    expect(bench.read(0xfc)).toBe(generation + 1);
    expect(bench.interrupts).toBe(1);
    expect(driver.run(OUT, 2 * SECTORS - 1, new Uint8Array(512)).status).toBe(OK);
    expect((bench.command("info") as BlkInfo).size).toBe(2 * SIZE);
  });

  it("keeps to its limit, and serves everything in the end", async () => {
    const { driver, bench } = await disk({ limits: { iops: 100 } });
    for (let i = 0; i < 15; i++) driver.add(IN, i, 512);
    // A tenth of a second's worth at once, the rest as time passes.
    const first = driver.take();
    expect(first).toBeGreaterThanOrEqual(10);
    expect(first).toBeLessThan(15);
    let all = first;
    for (let i = 0; i < 200 && all < 15; i++) {
      bench.turn(50);
      all += driver.collect();
    }
    expect(all).toBe(15);
  });

  it("counts what it does", async () => {
    const { driver, bench } = await disk();
    driver.run(IN, 0, 1024);
    driver.run(OUT, 0, new Uint8Array(512));
    driver.run(VIRTIO_BLK_T_FLUSH, 0);
    const { read, write, flush } = bench.command("statistics") as BlkStatisticsSnapshot;
    expect(read).toEqual({ operations: 1, bytes: 1024, failed: 0, merged: 0, totalTimeNs: expect.any(Number) });
    expect([write.operations, write.bytes, flush.operations]).toEqual([1, 512, 1]);
  });

  it("carries out requests that follow each other at once, and answers each", async () => {
    const { driver, bench, path } = await disk();
    const writes = Array.from({ length: 8 }, (_, i) => driver.add(OUT, i, new Uint8Array(512).fill(i)));
    const apart = driver.add(OUT, 100, new Uint8Array(512).fill(9));
    const reads = Array.from({ length: 6 }, (_, i) => driver.add(IN, 2 * i, 1024));
    expect(driver.take()).toBe(15);
    expect([...writes, apart, ...reads].map(({ status }) => status)).toEqual(Array.from({ length: 15 }, () => OK));
    expect(reads.map(({ data }) => [data[0], data[512], data.length])).toEqual([
      ...[0, 2, 4, 6].map((i) => [i, i + 1, 1024]),
      ...[8, 10].map(() => [7, 7, 1024]),
    ]);
    expect(readFileSync(path)[100 * 512]).toBe(9);
    const { read, write } = bench.command("statistics") as BlkStatisticsSnapshot;
    expect([write.operations, write.merged, write.bytes]).toEqual([9, 7, 9 * 512]);
    expect([read.operations, read.merged, read.bytes]).toEqual([6, 5, 6 * 1024]);
  });

  it("answers what follows each other on the disk but not in range one by one", async () => {
    const { driver } = await disk();
    const answers = [SECTORS - 2, SECTORS - 1, SECTORS, SECTORS + 1].map((sector) => driver.add(IN, sector, 512));
    driver.take();
    expect(answers.map(({ status }) => status)).toEqual([OK, OK, IOERR, IOERR]);
  });
});

describe("when the host fails", () => {
  it.each<["report" | "ignore", number]>([
    ["report", IOERR],
    ["ignore", OK],
  ])("a write is answered as the user chose (%s)", async (writeError, status) => {
    const { driver, bench } = await disk({ flags: O_RDONLY, writeError });
    expect(driver.run(OUT, 0, new Uint8Array(512)).status).toBe(status);
    const data = { operation: "write", action: writeError, nospace: false, reason: "EBADF" };
    expect(bench.events).toEqual([{ name: "io-error", data }]);
    expect(driver.run(IN, 0, 512).status).toBe(OK);
  });

  it("each write of several that follow each other is answered by its own error", async () => {
    const { driver, bench } = await disk({ flags: O_RDONLY, writeError: "report" });
    const answers = [0, 1, 2].map((sector) => driver.add(OUT, sector, new Uint8Array(512)));
    driver.take();
    expect(answers.map(({ status }) => status)).toEqual([IOERR, IOERR, IOERR]);
    expect(bench.events).toHaveLength(3);
    expect((bench.command("statistics") as BlkStatisticsSnapshot).write).toMatchObject({ failed: 3, merged: 0 });
  });

  it("a full disk stops the device, and costs nothing once there is room", async () => {
    await disks.onFullFileSystem(async (path, makeRoom) => {
      const { driver, bench } = await disk({ path });
      const answers = Array.from({ length: 16 }, (_, i) => driver.add(OUT, i * 8, new Uint8Array(4096).fill(i + 1)));
      driver.take();
      const stopped = answers.filter(({ status }) => status < 0).length;
      expect(stopped).toBeGreaterThan(0);
      const data = { operation: "write", action: "stop", nospace: true, reason: "ENOSPC" };
      expect(bench.events).toEqual([{ name: "io-error", data }]);
      bench.call("quiesce");
      makeRoom();
      bench.call("resume");
      bench.settle();
      driver.collect();
      expect(answers.every(({ status }) => status === OK)).toBe(true);
      const bytes = readFileSync(path);
      for (let i = 0; i < answers.length; i++) expect(bytes[i * 4096]).toBe(i + 1);
    });
  });
});

describe("a disk's state", () => {
  it("goes on in another device, requests in the ring included", async () => {
    const first = await disk();
    const { driver, path } = first;
    expect(driver.run(OUT, 0, new Uint8Array(512).fill(1)).status).toBe(OK);
    const late = driver.add(OUT, 1, new Uint8Array(512).fill(2));
    first.bench.drivers[0]?.rings.publish();
    const { bench } = await disks.move(first, {});
    expect(late.status).toBe(-1);
    bench.call("resume");
    driver.await([late]);
    expect(late.status).toBe(OK);
    expect([readFileSync(path)[0], readFileSync(path)[512]]).toEqual([1, 2]);
  });

  it("is refused where the image is smaller than the guest's disk", async () => {
    const { bench, path } = await disk();
    const state = bench.save();
    truncateSync(path, SIZE / 2);
    const { bench: other } = await disk({ path });
    expect(() => other.call("load", state)).toThrow(
      expect.objectContaining({ code: "DEVICE_STATE", message: expect.stringContaining("device/capacity") }),
    );
  });
});
