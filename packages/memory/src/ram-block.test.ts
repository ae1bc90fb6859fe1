import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fstat, ftruncate, liveFds, memfdCreate, pread, pwrite } from "@baton/linux";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import { readDaxGeometry } from "./backend/dax.js";
import { RamBlock } from "./ram-block.js";

const MiB = 2n ** 20n;
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "baton-ram-"));
});
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => expect(liveFds()).toEqual([]));

const coded = (code: string) => expect.objectContaining({ code });
const bytes = (block: RamBlock, offset = 0, length = 16) => new Uint8Array(block.view(offset, length));

/** The VmFlags of the mapping at an address, see proc_pid_smaps(5). */
function flags(hva: bigint): string[] {
  const text = readFileSync("/proc/self/smaps", "utf8");
  const entry = text.slice(text.indexOf(`\n${hva.toString(16)}-`));
  return (/VmFlags: (.*)/.exec(entry)?.[1] ?? "").trim().split(" ");
}

describe("memfd", () => {
  it("is the default: shared, zero, sparse, and not inherited by children", () => {
    using block = RamBlock.create({ id: "pc.ram", size: 64n * MiB });
    expect(block).toMatchObject({ id: "pc.ram", size: 64n * MiB, share: true, pageSize: 4096, generation: 0 });
    expect(block.backend).toEqual({ kind: "memfd" });
    expect(block.hva % (2n * MiB)).toBe(0n);
    expect(fstat(block.fd)).toMatchObject({ size: 64n * MiB, blocks: 0n });
    bytes(block)[3] = 9;
    const read = new Uint8Array(4);
    pread(block.fd, read, 0);
    expect([...read]).toEqual([0, 0, 0, 9]);
    expect(flags(block.hva)).toEqual(expect.arrayContaining(["sh", "dc"]));
  });

  it("keeps writes private with share: false", () => {
    using block = RamBlock.create({ id: "m", size: MiB, backend: { kind: "memfd", share: false } });
    bytes(block)[0] = 1;
    const read = new Uint8Array(1);
    pread(block.fd, read, 0);
    expect([block.share, read[0]]).toEqual([false, 0]);
  });

  it("anonymous memory is private and counts once", () => {
    using block = RamBlock.create({ id: "m", size: 2n ** 35n, backend: { kind: "anonymous" } });
    expect(block).toMatchObject({ share: false, backend: { kind: "anonymous" } });
    new Uint8Array(block.view(2 ** 35 - 1, 1))[0] = 1;
    expect(flags(block.hva)).not.toContain("sh");
  });

  it("is left out of core dumps where asked", () => {
    using block = RamBlock.create({ id: "m", size: MiB, dump: false });
    expect(flags(block.hva)).toContain("dd");
    block.setDump(true);
    expect(flags(block.hva)).not.toContain("dd");
  });

  const huge = Number(readFileSync("/proc/sys/vm/nr_hugepages", "utf8"));
  (huge >= 2 ? it : it.skip)(`takes huge pages${huge < 2 ? " (skipped: vm.nr_hugepages is 0)" : ""}`, () => {
    using block = RamBlock.create({ id: "h", size: 2n * MiB, backend: { kind: "memfd", hugePages: "2M" } });
    expect(block.pageSize).toBe(2 ** 21);
    bytes(block)[0] = 1;
  });

  it("says how many huge pages are missing", () => {
    const backend = { kind: "memfd", hugePages: "1G" } as const;
    expect(() => RamBlock.create({ id: "h", size: 2n ** 40n, backend })).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/MEMORY_BACKEND_(MAP|OPEN)/),
        message: expect.stringContaining("memory h:"),
      }),
    );
    expect(() => RamBlock.create({ id: "h", size: 3n * MiB, backend: { kind: "memfd", hugePages: "2M" } })).toThrow(
      "memory h: size 3145728 is not a positive multiple of the page size 2097152",
    );
  });

  it.each([0n, -4096n, 4097n, 100 as never])("refuses size %s", (size) => {
    expect(() => RamBlock.create({ id: "m", size })).toThrow(coded("MEMORY_BACKEND_SIZE"));
  });

  it("aligns its address as asked", () => {
    using block = RamBlock.create({ id: "m", size: MiB, align: 2 ** 30 });
    expect(block.hva % 2n ** 30n).toBe(0n);
    for (const align of [3, 2048, 12288, 1.5]) {
      expect(() => RamBlock.create({ id: "m", size: MiB, align })).toThrow(coded("MEMORY_BACKEND_ALIGN"));
    }
  });
});

describe("file", () => {
  it("is made where it does not exist, and keeps the guest's writes", () => {
    const path = join(dir, "new");
    {
      using block = RamBlock.create({ id: "m", size: MiB, backend: { kind: "file", path, share: true } });
      bytes(block)[1] = 7;
    }
    expect(statSync(path)).toMatchObject({ size: 2 ** 20 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path)[1]).toBe(7);
    using again = RamBlock.create({ id: "m", size: MiB, backend: { kind: "file", path, share: false } });
    expect(bytes(again)[1]).toBe(7);
    bytes(again)[1] = 8;
    expect(readFileSync(path)[1]).toBe(7);
  });

  it("may be longer than the block, and start at an offset", () => {
    const path = join(dir, "offset");
    writeFileSync(path, Buffer.alloc(3 * 4096, 5));
    using block = RamBlock.create({
      id: "m",
      size: 8192n,
      backend: { kind: "file", path, share: true, offset: 4096n },
    });
    expect(block.fdOffset).toBe(4096n);
    bytes(block)[0] = 6;
    expect([readFileSync(path)[4095], readFileSync(path)[4096]]).toEqual([5, 6]);
    expect(() =>
      RamBlock.create({ id: "m", size: 8192n, backend: { kind: "file", path, share: true, offset: 1n } }),
    ).toThrow(coded("MEMORY_BACKEND_ALIGN"));
  });

  it("that is too short is refused with both sizes, and left as it is", () => {
    const path = join(dir, "short");
    writeFileSync(path, Buffer.alloc(5000));
    expect(() => RamBlock.create({ id: "pc.ram", size: MiB, backend: { kind: "file", path, share: true } })).toThrow(
      expect.objectContaining({
        code: "MEMORY_BACKEND_TOO_SHORT",
        message: `memory pc.ram: ${path} has 5000 bytes, the block needs 1048576`,
        details: expect.objectContaining({ available: 5000n, size: MiB }),
      }),
    );
    expect(statSync(path).size).toBe(5000);
  });

  it("is unnamed in a directory, and must exist without create", () => {
    const sub = join(dir, "sub");
    mkdirSync(sub);
    using block = RamBlock.create({ id: "m", size: MiB, backend: { kind: "file", path: sub, share: true } });
    bytes(block)[0] = 1;
    expect(fstat(block.fd).nlink).toBe(0n);
    const path = join(dir, "none");
    expect(() =>
      RamBlock.create({ id: "m", size: MiB, backend: { kind: "file", path, share: true, create: false } }),
    ).toThrow(expect.objectContaining({ code: "MEMORY_BACKEND_OPEN", message: expect.stringContaining("ENOENT") }));
  });
});

describe("dax", () => {
  it("refuses what is no device DAX, by name", () => {
    const path = join(dir, "plain");
    writeFileSync(path, "x");
    for (const wrong of [path, "/dev/zero"]) {
      expect(() => RamBlock.create({ id: "d", size: MiB, backend: { kind: "dax", path: wrong } })).toThrow(
        expect.objectContaining({
          code: "MEMORY_BACKEND_NOT_DAX",
          message: expect.stringContaining(`memory d: ${wrong}`),
        }),
      );
    }
    expect(() => RamBlock.create({ id: "d", size: MiB, backend: { kind: "dax", path: "/dev/dax99.0" } })).toThrow(
      coded("MEMORY_BACKEND_OPEN"),
    );
  });

  it("reads size and alignment from sysfs", () => {
    writeFileSync(join(dir, "size"), "1073741824\n");
    writeFileSync(join(dir, "align"), "2097152\n");
    expect(readDaxGeometry(dir)).toEqual({ size: 2n ** 30n, align: 2 ** 21 });
  });
});

describe("fromFd", () => {
  it("maps a handed descriptor without writing, and owns it", () => {
    const fd = memfdCreate("handed");
    ftruncate(fd, MiB);
    pwrite(fd, Uint8Array.of(42), 5);
    const block = RamBlock.fromFd({ id: "m", size: MiB, fd, backend: { kind: "memfd" } });
    expect(bytes(block)[5]).toBe(42);
    expect(fstat(fd).blocks).toBe(8n);
    block.close();
    expect(fd.closed).toBe(true);
  });

  it("leaves a descriptor that does not fit to its owner", () => {
    using fd = memfdCreate("handed");
    ftruncate(fd, 4096);
    expect(() => RamBlock.fromFd({ id: "m", size: MiB, fd })).toThrow(
      "memory m: memfd:handed has 4096 bytes, the block needs 1048576",
    );
    expect(() => RamBlock.fromFd({ id: "m", size: 4096n, fd, offset: 5n })).toThrow(coded("MEMORY_BACKEND_ALIGN"));
    expect(fd.closed).toBe(false);
  });
});

describe("allocation", () => {
  it("prealloc takes all pages at once", () => {
    using block = RamBlock.create({ id: "m", size: 8n * MiB, prealloc: true });
    expect(fstat(block.fd).blocks).toBe((8n * MiB) / 512n);
  });

  it("prefault proceeds in chunks, keeps content, and reports", async () => {
    using block = RamBlock.create({ id: "m", size: 8n * MiB });
    bytes(block, 4096)[0] = 3;
    const seen: bigint[] = [];
    await block.prefault({ chunkBytes: 3 * 2 ** 20, onProgress: (done) => seen.push(done) });
    expect(seen).toEqual([3n * MiB, 6n * MiB, 8n * MiB]);
    expect(fstat(block.fd).blocks).toBe((8n * MiB) / 512n);
    expect(bytes(block, 4096)[0]).toBe(3);
  });

  it("prefault ends with the signal's reason", async () => {
    using block = RamBlock.create({ id: "m", size: 64n * MiB });
    const control = new AbortController();
    const reason = new Error("enough");
    const running = block.prefault({
      signal: control.signal,
      chunkBytes: 2 ** 20,
      onProgress: (done) => done === 2n * MiB && control.abort(reason),
    });
    await expect(running).rejects.toBe(reason);
    expect(fstat(block.fd).blocks).toBe((2n * MiB) / 512n);
  });
});

describe("rebase", () => {
  it("maps other memory elsewhere, tells listeners, and drops the old one", () => {
    const block = RamBlock.create({ id: "m", size: MiB });
    const before = { hva: block.hva, fd: block.fd };
    bytes(block)[0] = 1;
    const fd = memfdCreate("next");
    ftruncate(fd, MiB);
    pwrite(fd, Uint8Array.of(2), 0);
    const heard: unknown[] = [];
    const stop = block.onRebase(({ previousHva }) =>
      heard.push([previousHva, block.hva !== previousHva, before.fd.closed]),
    );
    block.rebase({ fd, share: false });
    expect(heard).toEqual([[before.hva, true, false]]);
    expect([bytes(block)[0], block.generation, block.share, before.fd.closed]).toEqual([2, 1, false, true]);
    const small = memfdCreate("small");
    expect(() => block.rebase({ fd: small })).toThrow(coded("MEMORY_BACKEND_TOO_SHORT"));
    expect([bytes(block)[0], block.generation]).toEqual([2, 1]);
    stop();
    small.close();
    block.close();
    expect(heard.length).toBe(1);
  });
});

it("closes once, and checks every view", () => {
  const block = RamBlock.create({ id: "m", size: MiB });
  expect(() => block.view(MiB, 1)).toThrow(coded("MEMORY_OUT_OF_BOUNDS"));
  expect(() => block.view(-1, 1)).toThrow(coded("MEMORY_OUT_OF_BOUNDS"));
  expect(block.view(MiB, 0).byteLength).toBe(0);
  block.close();
  block.close();
  expect(() => block.view(0, 1)).toThrow(coded("MEMORY_CLOSED"));
});
