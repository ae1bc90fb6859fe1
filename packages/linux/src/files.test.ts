import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  O_CREAT,
  O_DIRECTORY,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from "./abi/file.js";
import { getCloexec, getFlags, setCloexec, setNonblocking } from "./fcntl.js";
import { liveFds } from "./fd.js";
import {
  chmod,
  copyFileRange,
  fallocate,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  lseek,
  mkdir,
  open,
  rename,
  seekData,
  seekHole,
  sendfile,
  unlink,
} from "./files.js";
import { memfdCreate } from "./memfd.js";
import { addressOf } from "./native.js";
import { pread, pwrite, read, readAll, tryPread, tryRead, write, writeAll } from "./read-write.js";
import { preadv, pwritev, readv, writev } from "./vectors.js";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "baton-files-"));
});
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => expect(liveFds()).toEqual([]));

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const MiB = 1 << 20;

describe("opening", () => {
  it("is close-on-exec, and names the path in errors", () => {
    using fd = open(join(dir, "a"), O_RDWR | O_CREAT, 0o600);
    expect(getCloexec(fd)).toBe(true);
    setCloexec(fd, false);
    expect(getCloexec(fd)).toBe(false);
    expect(statSync(join(dir, "a")).mode & 0o777).toBe(0o600);
    expect(() => open(join(dir, "none"), O_RDONLY)).toThrow(`open ${dir}/none: no such file or directory (ENOENT)`);
    expect(() => open("a\0b", O_RDONLY)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("starts relative paths at a directory", () => {
    using at = open(dir, O_RDONLY | O_DIRECTORY);
    open("b", O_WRONLY | O_CREAT, 0o644, { at }).close();
    expect(statSync(join(dir, "b")).size).toBe(0);
  });

  it("sets O_NONBLOCK on the open file", () => {
    using fd = open(join(dir, "a"), O_RDWR | O_CREAT, 0o600);
    using second = fd.dup();
    setNonblocking(fd, true);
    expect(getFlags(second) & O_NONBLOCK).toBe(O_NONBLOCK);
    setNonblocking(second, false);
    expect(getFlags(fd) & O_NONBLOCK).toBe(0);
  });
});

describe("reading and writing", () => {
  it("by offset and by position", () => {
    using fd = open(join(dir, "rw"), O_RDWR | O_CREAT, 0o600);
    expect(write(fd, Buffer.from("hello "))).toBe(6);
    writeAll(fd, Buffer.from("world"));
    expect(pwrite(fd, Buffer.from("J"), 0)).toBe(1);
    writeAll(fd, Buffer.from("!"), 11n);
    const bytes = new Uint8Array(5);
    expect(pread(fd, bytes, 6)).toBe(5);
    expect(text(bytes)).toBe("world");
    lseek(fd, -6, "end");
    const rest = new Uint8Array(20);
    expect(read(fd, rest)).toBe(6);
    expect(text(rest.subarray(0, 6))).toBe("world!");
    expect(readAll(fd, rest, 0)).toBe(12);
    expect(readFileSync(join(dir, "rw"), "utf8")).toBe("Jello world!");
    fsync(fd);
    fdatasync(fd);
  });

  it("in several pieces, of arrays and of addresses", () => {
    using fd = memfdCreate("v");
    expect(writev(fd, [Buffer.from("one"), Buffer.from(""), Buffer.from("two")])).toBe(6);
    const three = Buffer.from("three");
    expect(pwritev(fd, [{ address: addressOf(three), length: 5 }], 6n)).toBe(5);
    const [a, b] = [new Uint8Array(4), new Uint8Array(10)];
    expect(preadv(fd, [a, b], 0)).toBe(11);
    expect(text(a) + text(b.subarray(0, 7))).toBe("onetwothree");
    lseek(fd, 3);
    expect(readv(fd, [a.subarray(0, 3)])).toBe(3);
    expect(text(a.subarray(0, 3))).toBe("two");
    expect(() => writev(fd, Array(1025).fill(a))).toThrow("1025 pieces");
    expect(() => preadv(fd, [{ address: 0n, length: 5 }], 0)).toThrow("address");
  });

  it("the try calls return negative error numbers", () => {
    expect(tryRead(9999, new Uint8Array(1))).toBe(-9);
    expect(tryPread(9999, new Uint8Array(1), 0)).toBe(-9);
    expect(() => read(9999, new Uint8Array(1))).toThrow("read fd 9999: bad file descriptor (EBADF)");
    expect(() => read(0, "text" as never)).toThrow("bytes must be a Uint8Array");
  });
});

describe("holes and sizes", () => {
  it("finds data between holes beyond 4 GiB", () => {
    using fd = memfdCreate("sparse");
    ftruncate(fd, 2n ** 34n);
    expect(seekData(fd, 0)).toBeNull();
    expect(seekHole(fd, 0)).toBe(0n);
    pwrite(fd, Uint8Array.of(1), 2n ** 33n + 5n);
    expect(seekData(fd, 0)).toBe(2n ** 33n);
    expect(seekHole(fd, 2n ** 33n)).toBe(2n ** 33n + 4096n);
    expect(seekData(fd, 2n ** 33n + 4096n)).toBeNull();
    expect(seekHole(fd, 2n ** 34n + 1n)).toBeNull();
    expect(fstat(fd)).toMatchObject({ size: 2n ** 34n, blocks: 8n, blockSize: 4096 });
  });

  it("allocates and punches", () => {
    using fd = memfdCreate("alloc");
    fallocate(fd, 0, 0, MiB);
    expect(fstat(fd)).toMatchObject({ size: BigInt(MiB), blocks: BigInt(MiB / 512) });
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, MiB - 4096);
    expect(fstat(fd).blocks).toBe(8n);
    expect(() => fallocate(fd, 0, -1, 1)).toThrow("offset");
  });
});

it("copies between files without passing user space", () => {
  using from = open(join(dir, "from"), O_RDWR | O_CREAT, 0o600);
  using to = open(join(dir, "to"), O_RDWR | O_CREAT, 0o600);
  writeAll(from, Buffer.from("0123456789"));
  expect(sendfile(to, from, 2, 4)).toBe(4);
  expect(copyFileRange(from, 8, to, 4, 2)).toBe(2);
  expect(readFileSync(join(dir, "to"), "utf8")).toBe("234589");
});

it("names in directories", () => {
  mkdir(join(dir, "sub"), 0o700);
  open(join(dir, "sub/x"), O_WRONLY | O_CREAT, 0o600).close();
  rename(join(dir, "sub/x"), join(dir, "sub/y"));
  chmod(join(dir, "sub/y"), 0o640);
  expect(statSync(join(dir, "sub/y")).mode & 0o777).toBe(0o640);
  unlink(join(dir, "sub/y"));
  expect(() => unlink(join(dir, "sub/y"))).toThrow("ENOENT");
  expect(() => mkdir(join(dir, "sub"))).toThrow("EEXIST");
});
