import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "@jest/globals";
import { absence } from "../../../test/absence.js";
import { runChild } from "../test/child.js";
import { EBADF } from "./abi/errno.js";
import { POLLIN } from "./abi/event.js";
import { RWF_DSYNC } from "./abi/io-uring.js";
import { drainEventfd, eventfd } from "./eventfd.js";
import { liveFds } from "./fd.js";
import { IoUring } from "./io-uring.js";
import { IoVector } from "./io-vector.js";
import { memfdCreate } from "./memfd.js";
import { addressOf } from "./native.js";
import { poll } from "./poll.js";
import { pread, pwrite } from "./read-write.js";

const absent = absence(() => IoUring.open());
const permitted = absent === "" ? it : it.skip;
afterEach(() => expect(liveFds()).toEqual([]));

/** Whatever the kernel may still touch: nothing else references it. */
let touched: unknown[] = [];
afterEach(() => {
  touched = [];
});

/** Pieces with the address of their array. */
function pieces(...parts: Uint8Array[]): { iov: number; count: number } {
  const vector = new IoVector(8);
  for (const part of parts) vector.add(Number(addressOf(part)), part.length);
  touched.push(vector, parts);
  return { iov: Number(addressOf(vector.words)), count: vector.count };
}

/** Waits until all requests have ended: their results by token. */
function results(ring: IoUring): Record<number, number> {
  const found: Record<number, number> = {};
  const pairs = new Int32Array(2 * ring.entries);
  while (ring.underWay > 0) {
    ring.wait();
    const count = ring.reap(pairs);
    for (let i = 0; i < count; i++) found[pairs[2 * i] as number] = pairs[2 * i + 1] as number;
  }
  return found;
}

describe(`io_uring${absent}`, () => {
  permitted("reads and writes pieces, each request with its own result", () => {
    using ring = IoUring.open({ entries: 8 });
    using file = memfdCreate("disk");
    pwrite(file, Buffer.from("0123456789"), 0);
    const [one, two] = [new Uint8Array(3), new Uint8Array(4)];
    const reads = pieces(one, two);
    const writes = pieces(Buffer.from("ab"), Buffer.from("cd"));
    ring.readv(file.raw, reads.iov, reads.count, 2, 0, 1);
    ring.writev(file.raw, writes.iov, writes.count, 100, RWF_DSYNC, 2);
    ring.fdatasync(file.raw, 3);
    // As far as the file goes, beyond it, and of no file.
    const rest = pieces(new Uint8Array(60));
    ring.readv(file.raw, rest.iov, 1, 60, 0, 4);
    ring.readv(file.raw, rest.iov, 1, 5000, 0, 5);
    ring.readv(-1, rest.iov, 1, 0, 0, 6);
    expect([ring.underWay, ring.room]).toEqual([6, 2]);
    const { 4: short, ...others } = results(ring);
    expect(others).toEqual({ 1: 7, 2: 4, 3: 0, 5: 0, 6: -EBADF });
    expect([0, 44]).toContain(short);
    expect(Buffer.from([...one, ...two]).toString()).toBe("2345678");
    const written = Buffer.alloc(4);
    expect(pread(file, written, 100)).toBe(4);
    expect([written.toString(), ring.underWay]).toEqual(["abcd", 0]);
  });

  permitted("has threads of the kernel carry out what it was told to", () => {
    const workers = () =>
      readdirSync("/proc/self/task").filter((id) =>
        readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("iou-wrk"),
      ).length;
    using file = memfdCreate("disk");
    const { iov } = pieces(Buffer.from("data"));
    for (const async of [false, true]) {
      const before = workers();
      using ring = IoUring.open({ entries: 1, async });
      ring.writev(file.raw, iov, 1, 0, 0, 7);
      expect(results(ring)).toEqual({ 7: 4 });
      expect(workers() - before).toBe(async ? 1 : 0);
    }
  });

  permitted("writes far beyond 4 GiB", () => {
    using ring = IoUring.open();
    using file = memfdCreate("disk");
    const { iov } = pieces(Buffer.from("far"));
    ring.writev(file.raw, iov, 1, 5 * 2 ** 32 + 1, 0, 0);
    expect(results(ring)).toEqual({ 0: 3 });
    const found = Buffer.alloc(3);
    pread(file, found, 5 * 2 ** 32 + 1);
    expect(found.toString()).toBe("far");
  });

  permitted("serves more requests than it has entries, over and over", () => {
    using ring = IoUring.open({ entries: 64 });
    using file = memfdCreate("disk");
    pwrite(file, new Uint8Array(4096).fill(7), 0);
    const buffers = Array.from({ length: 64 }, () => pieces(new Uint8Array(64)));
    for (let round = 0; round < 50; round++) {
      for (const [token, { iov }] of buffers.entries()) ring.readv(file.raw, iov, 1, token * 64, 0, token);
      expect(ring.room).toBe(0);
      expect(Object.values(results(ring))).toEqual(buffers.map(() => 64));
    }
  });

  permitted("signals an eventfd when results are there", () => {
    using ring = IoUring.open();
    using file = memfdCreate("disk");
    using ready = eventfd({ nonblock: true });
    ring.notify(ready);
    expect(drainEventfd(ready)).toBe(0n);
    const buffers = Array.from({ length: 40 }, () => pieces(Buffer.from("x")));
    for (const [token, { iov }] of buffers.entries()) ring.writev(file.raw, iov, 1, token, RWF_DSYNC, token);
    ring.submit();
    const pairs = new Int32Array(2 * ring.entries);
    let found = 0;
    // Everything must be met by looking only when the eventfd says so; a signal may end a wait.
    for (let waits = 0; found < buffers.length && waits < 100; waits++) {
      if (poll([{ fd: ready, events: POLLIN }], 10_000)[0] === 0) continue;
      drainEventfd(ready);
      found += ring.reap(pairs);
    }
    expect([found, ring.underWay]).toEqual([buffers.length, 0]);
  });

  permitted("takes no more results than there is room for", () => {
    using ring = IoUring.open();
    using file = memfdCreate("disk");
    for (let token = 0; token < 5; token++) ring.fdatasync(file.raw, token);
    const two = new Int32Array(5);
    let found = 0;
    while (ring.underWay > 0) {
      ring.wait();
      const count = ring.reap(two);
      expect(count).toBeLessThanOrEqual(2);
      found += count;
    }
    expect(found).toBe(5);
  });

  permitted("is closed once", () => {
    const ring = IoUring.open();
    ring.close();
    ring.close();
    expect(() => ring.wait()).not.toThrow();
    for (const entries of [0, 4097, 1.5]) {
      expect(() => IoUring.open({ entries })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });

  it.each([
    ["ENOSYS", 38, /this kernel has no io_uring/],
    ["EPERM", 1, /io_uring_disabled, or a seccomp filter/],
  ])("says why there is none: %s", (name, errno, reason) => {
    // A filter that fails io_uring_setup, number 425, and lets everything else pass.
    const { stdout, stderr } = runChild(`
      import koffi from "koffi";
      const prctl = koffi.load("libc.so.6").func("int prctl(int, unsigned long, void *, long, long)");
      const filter = Buffer.alloc(32);
      [[0x20, 0, 0, 0], [0x15, 0, 1, 425], [0x06, 0, 0, 0x50000 + ${errno}], [0x06, 0, 0, 0x7fff0000]].forEach(
        ([code, jt, jf, k], i) => {
          filter.writeUInt16LE(code, 8 * i);
          filter[8 * i + 2] = jt;
          filter[8 * i + 3] = jf;
          filter.writeUInt32LE(k, 8 * i + 4);
        },
      );
      const program = Buffer.alloc(16);
      program.writeUInt16LE(4, 0);
      program.writeBigUInt64LE(BigInt(koffi.address(filter)), 8);
      if (prctl(38, 1, null, 0, 0) !== 0 || prctl(22, 2, program, 0, 0) !== 0) throw new Error("no filter");
      try {
        L.IoUring.open();
      } catch ({ code, errnoName, message }) {
        const ring = L.IoUring.openIfAvailable() ?? "none";
        console.log(JSON.stringify({ code, errnoName, message, ring }));
      }`);
    expect(stderr).toBe("");
    const error = {
      code: "IO_URING_UNAVAILABLE",
      errnoName: name,
      message: expect.stringMatching(reason),
      ring: "none",
    };
    expect(JSON.parse(stdout)).toEqual(error);
  });
});
