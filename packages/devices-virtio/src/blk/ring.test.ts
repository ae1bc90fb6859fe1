import { readFileSync, statSync, truncateSync } from "node:fs";
import { BatonError, EINVAL, EIO, ENOSPC, IoUring, O_RDONLY } from "@baton/linux";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { absence } from "../../../../test/absence.js";
import { rounds } from "../../../../test/rounds.js";
import { BlkDriver } from "../../test/support/blk-driver.js";
import {
  DISK_BYTES,
  DISK_FEATURES,
  DISK_SECTORS,
  type Disk,
  type DiskChanges,
  Disks,
  range,
} from "../../test/support/disks.js";
import { HeldRing } from "../../test/support/held-ring.js";
import { attachLoop, detachLoop, loopAbsence } from "../../test/support/loop-device.js";
import { features } from "../../test/support/world.js";
import type { BlkInfo, BlkStatisticsSnapshot, VirtioState } from "../index.js";
import { openRing } from "./image/ring.js";
import {
  VIRTIO_BLK_T_FLUSH as FLUSH,
  VIRTIO_BLK_T_IN as IN,
  VIRTIO_BLK_S_IOERR as IOERR,
  VIRTIO_BLK_S_OK as OK,
  VIRTIO_BLK_T_OUT as OUT,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_GET_ID,
} from "./request.js";
import type { BlkState } from "./state.js";

const absent = absence(() => IoUring.open());
const permitted = absent === "" ? it : it.skip;

// Of a file system that has direct I/O, which that of /tmp need not have.
const disks = new Disks("/var/tmp");
afterEach(() => disks.close());
afterAll(() => disks.remove());

const onRing = (changes: DiskChanges = {}) => disks.open({ direct: true, aio: "io_uring", ...changes });

/** A disk whose requests end when the test says so. */
async function held(changes: DiskChanges = {}): Promise<Disk & { readonly ring: HeldRing }> {
  const module = new URL("../../test/support/held-ring.ts", import.meta.url).href;
  const disk = await onRing({ module, factory: "createDiskOnHeldRing", ...changes });
  return { ...disk, ring: HeldRing.last };
}

const block = (byte: number, length = 4096) => new Uint8Array(length).fill(byte);
const STATUS_NEEDS_RESET = 0x40;

describe(`a disk on io_uring${absent}`, () => {
  permitted("moves data, many requests at a time", async () => {
    const { driver, bench, path } = await onRing();
    // Apart from each other: none is joined with the one before.
    const writes = Array.from({ length: 16 }, (_, i) => driver.add(OUT, 16 * i, block(i + 1)));
    driver.finish(writes);
    const reads = Array.from({ length: 16 }, (_, i) => driver.add(IN, 16 * i, 8192));
    driver.finish(reads);
    expect([...writes, ...reads].every(({ status }) => status === OK)).toBe(true);
    expect(reads.map(({ data }) => [data[0], data[4095], data[4096]])).toEqual(reads.map((_, i) => [i + 1, i + 1, 7]));
    expect(driver.run(FLUSH, 0).status).toBe(OK);
    for (let i = 0; i < 16; i++) expect(readFileSync(path)[8192 * i]).toBe(i + 1);
    expect((bench.command("info") as BlkInfo).aio).toBe("io_uring");
    const { read, write, flush } = bench.command("statistics") as BlkStatisticsSnapshot;
    expect([write.operations, write.bytes, write.merged, write.failed]).toEqual([16, 16 * 4096, 0, 0]);
    expect([read.operations, read.bytes, flush.operations]).toEqual([16, 16 * 8192, 1]);
  });

  permitted("joins requests that follow each other, and answers each", async () => {
    const { driver, ring, path } = await held();
    const answers = Array.from({ length: 8 }, (_, i) => driver.add(OUT, 8 * i, block(i + 1)));
    driver.finish(answers);
    expect(ring.begun).toEqual([{ kind: "write", offset: 0, durable: false, token: expect.any(Number) }]);
    for (let i = 0; i < 8; i++) expect(readFileSync(path)[4096 * i]).toBe(i + 1);
  });

  permitted.each([["threads"], ["io_uring"]] as const)(
    "is the same disk whatever carries its requests out: %s",
    (aio) =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.uniqueArray(
              fc.record({ place: fc.nat(31), sectors: fc.integer({ min: 1, max: 16 }), byte: fc.nat(255) }),
              { selector: ({ place }) => place, minLength: 1, maxLength: 12 },
            ),
            { maxLength: 6 },
          ),
          async (batches) => {
            const { driver } = await onRing({ aio });
            const model = block(7, DISK_BYTES);
            for (const batch of batches) {
              const writes = batch.map(({ place, sectors, byte }) => {
                model.fill(byte, place * 16384, place * 16384 + sectors * 512);
                return driver.add(OUT, place * 32, block(byte, sectors * 512));
              });
              driver.finish(writes);
              const reads = batch.map(({ place }) => driver.add(IN, place * 32, 16384));
              driver.finish(reads);
              for (const [i, { place }] of batch.entries()) {
                expect(
                  Buffer.compare(reads[i]?.data as Uint8Array, model.subarray(place * 16384, (place + 1) * 16384)),
                ).toBe(0);
              }
            }
            disks.close();
          },
        ),
        { numRuns: rounds({ quick: 10, full: 1000 }) },
      ),
  );

  permitted("reads a file that ends within its last sector as if it went on with zeroes", async () => {
    const { driver, path } = await onRing();
    truncateSync(path, 700);
    const { status, data } = driver.run(IN, 0, 2048);
    expect([status, data[0], data[699], data[700], data[2047]]).toEqual([OK, 7, 7, 0, 0]);
    expect(driver.run(IN, 100, 512)).toEqual({ status: OK, data: new Uint8Array(512) });
  });

  permitted("takes buffers that direct I/O does not", async () => {
    const { driver, bench, path } = await onRing();
    const at = 0x200_0001;
    for (const [type, writable] of [
      [OUT, false],
      [IN, true],
    ] as const) {
      bench.memory.fill(at, 1024, writable ? 0 : 9);
      bench.memory.writeU32(0x110_0000, type);
      bench.memory.writeU64(0x110_0008, 3n);
      bench.memory.writeU8(0x110_0010, 0xff);
      const parts = [
        { gpa: 0x110_0000, length: 16, writable: false },
        { gpa: at, length: 1024, writable },
        { gpa: 0x110_0010, length: 1, writable: true },
      ];
      bench.drivers[0]?.add(parts);
      bench.kick(0);
      for (let turns = 0; turns < 100 && bench.memory.readU8(0x110_0010) === 0xff; turns++) bench.turn(1000);
      expect(bench.memory.readU8(0x110_0010)).toBe(OK);
      expect(driver.collect()).toBe(1);
      expect(bench.memory.read(at, 1024)).toEqual(block(9, 1024));
    }
    expect([...readFileSync(path).subarray(3 * 512 - 1, 3 * 512 + 1)]).toEqual([7, 9]);
  });

  permitted("keeps to its limit, and serves everything in the end", async () => {
    const { driver } = await onRing({ limits: { iops: 100 } });
    const answers = Array.from({ length: 15 }, (_, i) => driver.add(IN, 16 * i, 512));
    driver.finish(answers);
    expect(answers.every(({ status }) => status === OK)).toBe(true);
  });

  permitted("has no more under way than there is room for, and asks for the rest", async () => {
    const { driver, bench, ring } = await held();
    ring.holds = true;
    const answers = Array.from({ length: 16 }, (_, i) =>
      driver.add(i % 4 === 3 ? FLUSH : IN, 16 * i, i % 4 === 3 ? 0 : 512),
    );
    driver.take();
    expect([ring.begun.length, ring.underWay]).toEqual([4, 4]);
    ring.release();
    driver.await(answers);
    expect([ring.begun.length, ring.most]).toEqual([16, 4]);
    expect(answers.every(({ status }) => status === OK)).toBe(true);
    expect(bench.interrupts).toBeGreaterThan(0);
  });

  permitted("answers what needs no host while requests are under way", async () => {
    const { driver, ring } = await held();
    ring.holds = true;
    const read = driver.add(IN, 0, 512);
    const name = driver.add(VIRTIO_BLK_T_GET_ID, 0, 20);
    driver.take();
    expect([read.status, name.status]).toEqual([-1, OK]);
    ring.release();
    driver.await([read]);
  });

  permitted("lets a flush go along with writes, and makes each write durable without a cache", async () => {
    const { driver, bench, ring } = await held();
    ring.holds = true;
    const cached = [driver.add(OUT, 0, block(1)), driver.add(FLUSH, 0), driver.add(OUT, 64, block(2))];
    driver.take();
    bench.write(0x100 + 32, 0, 1);
    // The cache is empty once it is off.
    expect(ring.underWay).toBe(0);
    driver.collect();
    expect(cached.map(({ status }) => status)).toEqual([OK, OK, OK]);
    ring.holds = false;
    driver.finish([driver.add(OUT, 128, block(3))]);
    expect(ring.begun.map(({ kind, offset, durable }) => [kind, offset, durable])).toEqual([
      ["write", 0, false],
      ["flush", 0, false],
      ["write", 64 * 512, false],
      ["write", 128 * 512, true],
    ]);
  });

  permitted("discards and shrinks when nothing else is under way", async () => {
    const { driver, bench, ring, path } = await held();
    ring.holds = true;
    const last = driver.add(OUT, DISK_SECTORS - 8, block(1));
    const discard = driver.add(VIRTIO_BLK_T_DISCARD, 0, range(0, 128));
    driver.take();
    expect([last.status, discard.status, ring.underWay]).toEqual([OK, OK, 0]);
    const late = driver.add(OUT, DISK_SECTORS - 8, block(2));
    driver.take();
    expect([late.status, ring.underWay]).toEqual([-1, 1]);
    bench.command("resize", { size: DISK_BYTES / 2 });
    driver.collect();
    expect([late.status, statSync(path).size]).toEqual([OK, DISK_BYTES / 2]);
  });
});

describe(`requests under way${absent}`, () => {
  permitted("are answered before the device is quiet", async () => {
    const { driver, bench, ring, path } = await held();
    ring.holds = true;
    const answers = [driver.add(OUT, 0, block(1)), driver.add(IN, 64, 512), driver.add(FLUSH, 0)];
    driver.take();
    expect(answers.map(({ status }) => status)).toEqual([-1, -1, -1]);
    const before = bench.interrupts;
    bench.call("quiesce");
    driver.collect();
    expect(answers.map(({ status }) => status)).toEqual([OK, OK, OK]);
    bench.turn();
    expect(bench.interrupts).toBe(before + 1);
    expect(readFileSync(path)[0]).toBe(1);
    expect((bench.save().device as BlkState).held).toEqual([]);
  });

  permitted("end with a reset, unanswered, their memory marked as written", async () => {
    const { driver, bench, ring, path } = await held();
    ring.holds = true;
    const answers = [driver.add(IN, 64, 8192), driver.add(OUT, 0, block(1))];
    driver.take();
    const used = bench.drivers[0]?.rings;
    const reader = bench.block.dirty.reader("reset");
    bench.write(0x70, 0);
    expect([ring.underWay, used?.take()]).toEqual([0, null]);
    // Two pages and the one before the data are the buffer's.
    expect(reader.take()).toEqual([{ offset: 0x100_1000, length: 0x2000 }]);
    reader.close();
    expect(readFileSync(path)[0]).toBe(1);
    driver.collect();
    expect(answers.map(({ status }) => status)).toEqual([-1, -1]);
    ring.holds = false;
    bench.start(DISK_FEATURES, features({ eventIndex: true, indirect: true }), [0]);
    expect(new BlkDriver(bench).run(IN, 0, 512)).toEqual({ status: OK, data: block(1, 512) });
  });

  permitted("end when the device is closed", async () => {
    const { driver, ring, path } = await held();
    ring.holds = true;
    driver.add(OUT, 0, block(1));
    driver.take();
    disks.close();
    expect(readFileSync(path)[0]).toBe(1);
  });

  permitted("go on when the driver breaks a rule, whose queue stays broken until a reset", async () => {
    const { driver, bench, ring } = await held();
    ring.holds = true;
    const read = driver.add(IN, 0, 512);
    bench.drivers[0]?.add([{ gpa: 0x110_0000, length: 8, writable: false }]);
    driver.take();
    expect(bench.status & STATUS_NEEDS_RESET).toBe(STATUS_NEEDS_RESET);
    ring.release();
    for (let turns = 0; turns < 100 && ring.underWay > 0; turns++) bench.turn(1000);
    expect([ring.underWay, read.status]).toEqual([0, -1]);
    bench.write(0x70, 0);
    expect(bench.status).toBe(0);
  });
});

describe(`when the host fails a request under way${absent}`, () => {
  const stopped = (reason: string, operation: string, nospace = false) => ({
    name: "io-error",
    data: { operation, action: "stop", nospace, reason },
  });

  permitted.each<["report" | "ignore", number]>([
    ["report", IOERR],
    ["ignore", OK],
  ])("it is answered as the user chose (%s)", async (writeError, status) => {
    const { driver, bench } = await onRing({ flags: O_RDONLY, writeError });
    expect(driver.run(OUT, 0, block(1)).status).toBe(status);
    const data = { operation: "write", action: writeError, nospace: false, reason: "EBADF" };
    expect(bench.events).toEqual([{ name: "io-error", data }]);
    expect(driver.run(IN, 0, 512).status).toBe(OK);
  });

  permitted("a part of it is done, and then the rest", async () => {
    const { driver, ring, path } = await held();
    // As if fewer bytes had been moved, or none, or the ring could not do it.
    const results = [512, 0, -EINVAL, -4, -11];
    ring.alter = () => results[(ring.begun.length - 1) % results.length] as number;
    for (let i = 0; i < results.length; i++) {
      expect(driver.run(OUT, 8 * i, block(i + 1)).status).toBe(OK);
      expect(driver.run(IN, 8 * i, 4096).data).toEqual(block(i + 1));
      expect(readFileSync(path)[4096 * i + 4095]).toBe(i + 1);
    }
    expect(driver.run(FLUSH, 0).status).toBe(OK);
  });

  permitted("each of several that were joined has its own error", async () => {
    const { driver, bench } = await onRing({ flags: O_RDONLY, writeError: "report" });
    const answers = [0, 1, 2].map((i) => driver.add(OUT, 8 * i, block(1)));
    driver.finish(answers);
    expect(answers.map(({ status }) => status)).toEqual([IOERR, IOERR, IOERR]);
    expect(bench.events).toHaveLength(3);
  });

  permitted("the device stops with all that failed, and does it again in another one", async () => {
    const disk = await held({ readError: "stop", writeError: "stop" });
    const { driver, ring, bench, path } = disk;
    ring.alter = ({ offset }, result) => (offset === 0 || offset === 128 * 512 ? -EIO : result);
    ring.holds = true;
    const answers = [driver.add(OUT, 0, block(1)), driver.add(OUT, 64, block(2)), driver.add(IN, 128, 512)];
    driver.take();
    ring.release();
    driver.await([answers[1] as { status: number }]);
    for (let turns = 0; turns < 100 && ring.underWay > 0; turns++) bench.turn(1000);
    const late = driver.add(OUT, 192, block(3));
    driver.take();
    expect([...answers, late].map(({ status }) => status)).toEqual([-1, OK, -1, -1]);
    expect(bench.events).toEqual(expect.arrayContaining([stopped("EIO", "write"), stopped("EIO", "read")]));
    const state = bench.save();
    expect((state.device as BlkState).held).toHaveLength(2);
    // Whatever carries it out there.
    const { bench: next } = await disks.move(disk, { direct: true });
    expect(answers[0]?.status).toBe(-1);
    next.call("resume");
    driver.await([...answers, late]);
    expect([...answers, late].map(({ status }) => status)).toEqual([OK, OK, OK, OK]);
    expect([0, 64, 192].map((sector) => readFileSync(path)[sector * 512])).toEqual([1, 2, 3]);
    expect((next.save().device as BlkState).held).toEqual([]);
  });

  permitted("a request that fails again is held again, with those after it", async () => {
    const { driver, ring, bench } = await held({ flags: O_RDONLY, writeError: "stop" });
    ring.holds = true;
    const answers = [0, 64].map((sector) => driver.add(OUT, sector, block(1)));
    driver.take();
    ring.release();
    for (let turns = 0; turns < 100 && ring.underWay > 0; turns++) bench.turn(1000);
    expect(bench.events).toHaveLength(2);
    bench.call("quiesce");
    bench.call("resume");
    expect(bench.events).toHaveLength(3);
    expect((bench.save().device as BlkState).held).toHaveLength(2);
    expect(answers.map(({ status }) => status)).toEqual([-1, -1]);
    // A reset gives them back.
    bench.write(0x70, 0);
    expect((bench.save().device as BlkState).held).toEqual([]);
  });

  permitted("a full disk costs nothing once there is room", async () => {
    await disks.onFullFileSystem(async (path, makeRoom) => {
      const { driver, bench } = await onRing({ path, direct: false });
      const answers = Array.from({ length: 16 }, (_, i) => driver.add(OUT, i * 16, block(i + 1)));
      driver.take();
      for (let turns = 0; turns < 100 && bench.events.length === 0; turns++) bench.turn(1000);
      bench.call("quiesce");
      driver.collect();
      expect(bench.events).toContainEqual(stopped("ENOSPC", "write", true));
      expect(answers.some(({ status }) => status < 0)).toBe(true);
      expect(answers.every(({ status }) => status === OK || status < 0)).toBe(true);
      makeRoom();
      bench.call("resume");
      driver.await(answers);
      expect(answers.every(({ status }) => status === OK)).toBe(true);
      const bytes = readFileSync(path);
      for (let i = 0; i < answers.length; i++) expect(bytes[i * 8192]).toBe(i + 1);
    });
  });

  const noLoop = loopAbsence();
  const withLoop = noLoop === "" ? permitted : it.skip;

  withLoop(`a block device's error is told${noLoop}`, async () => {
    const file = disks.image();
    const device = attachLoop(file);
    try {
      // What the device had is gone.
      truncateSync(file, DISK_BYTES / 2);
      const { driver, bench } = await onRing({ path: device });
      const answers = [driver.add(IN, 0, 4096), driver.add(IN, DISK_SECTORS - 8, 4096)];
      driver.finish(answers);
      expect(answers.map(({ status }) => status)).toEqual([OK, IOERR]);
      const data = { operation: "read", action: "report", nospace: false, reason: "EIO" };
      expect(bench.events).toEqual([{ name: "io-error", data }]);
      expect((bench.command("statistics") as BlkStatisticsSnapshot).read).toMatchObject({ operations: 1, failed: 1 });
    } finally {
      disks.close();
      detachLoop(device);
    }
  });
});

describe(`requests that a state holds${absent}`, () => {
  const chain = { id: 0, position: 0, descriptors: 3, readable: [{ gpa: 0x110_0000n, length: 16 }], writable: [] };

  permitted.each<[string, unknown, string, string]>([
    ["no list", {}, "DEVICE_STATE", "device/held"],
    ["one of no queue", [{ queue: 1, chain }], "DEVICE_STATE", "device/held[0]/queue"],
    ["no chain", [{ queue: 0, chain: 5 }], "DEVICE_STATE", "device/held[0]/chain"],
    ["one that the ring does not know", [{ queue: 0, chain }], "VIRTQUEUE_STATE", "inFlight"],
    ["fewer than the ring has given", [], "DEVICE_STATE", "device/held"],
  ])("are refused: %s", async (what, list, code, field) => {
    const { bench } = await onRing();
    const state = bench.save();
    const [queue] = state.queues as [VirtioState["queues"][number]];
    const given = what === "fewer than the ring has given";
    const ring = {
      ...queue.ring,
      lastAvail: 1,
      inFlight: [{ id: 0, descriptors: 3, written: null }],
    } as typeof queue.ring;
    const changed = {
      ...state,
      queues: given ? [{ ...queue, ring }] : state.queues,
      device: { ...(state.device as BlkState), held: list },
    };
    expect(() => bench.call("load", changed)).toThrow(
      expect.objectContaining({ code, details: expect.objectContaining({ field }) }),
    );
  });
});

describe("the way requests are carried out", () => {
  const unavailable = () => {
    throw new BatonError("IO_URING_UNAVAILABLE", "io_uring_setup: function not implemented (ENOSYS)");
  };
  const raw = { kind: "raw", fd: 0, bufferedFd: -1 } as const;

  it("is io_uring where it is preferred and there, and else the thread", () => {
    expect(openRing({ ...raw, aio: "prefer-io_uring" }, unavailable)).toBeUndefined();
    expect(openRing({ ...raw, aio: "threads" }, unavailable)).toBeUndefined();
    expect(openRing(raw, unavailable)).toBeUndefined();
  });

  it("is refused by name where io_uring was asked for", () => {
    expect(() => openRing({ ...raw, aio: "io_uring" }, unavailable)).toThrow(
      expect.objectContaining({ code: "IO_URING_UNAVAILABLE", message: expect.stringContaining("ENOSYS") }),
    );
  });

  it("hides no other error", () => {
    const full = () => {
      throw new BatonError("SYSCALL_FAILED", "mmap", { errno: ENOSPC });
    };
    expect(() => openRing({ ...raw, aio: "prefer-io_uring" }, full)).toThrow(/mmap/);
  });
});
