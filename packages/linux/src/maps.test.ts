import { afterEach, describe, expect, it } from "@jest/globals";
import { F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK } from "./abi/file.js";
import {
  MADV_DODUMP,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "./abi/mman.js";
import { liveFds } from "./fd.js";
import { fstat, ftruncate } from "./files.js";
import {
  madvise,
  memcmp,
  memcpy,
  memset,
  mlock,
  mmap,
  mprotect,
  msync,
  munlock,
  munmap,
  tryMadvise,
  view,
} from "./maps.js";
import { addSeals, getSeals, memfdCreate } from "./memfd.js";
import { pread } from "./read-write.js";

afterEach(() => expect(liveFds()).toEqual([]));
const RW = PROT_READ | PROT_WRITE;
const PAGE = 4096;

describe("mmap", () => {
  it("maps a memfd that two views and the file share", () => {
    using fd = memfdCreate("m");
    ftruncate(fd, 4 * PAGE);
    const hva = mmap({ length: 4 * PAGE, prot: RW, flags: MAP_SHARED, fd });
    const second = mmap({ length: PAGE, prot: PROT_READ, flags: MAP_SHARED, fd, offset: BigInt(PAGE) });
    const bytes = new Uint8Array(view(hva, 4 * PAGE));
    bytes.set([1, 2, 3], PAGE);
    expect([...new Uint8Array(view(second, 3))]).toEqual([1, 2, 3]);
    const read = new Uint8Array(3);
    pread(fd, read, PAGE);
    expect([...read]).toEqual([1, 2, 3]);
    msync(hva, 4 * PAGE);
    munmap(second, PAGE);
    munmap(hva, 4n * BigInt(PAGE));
  });

  it("views 16 GiB in pieces of 1 GiB, and refuses longer ones", () => {
    const length = 2n ** 34n;
    const hva = mmap({ length, prot: RW, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE });
    const last = new Uint8Array(view(hva + length - 2n ** 30n, 2 ** 30));
    last[2 ** 30 - 1] = 7;
    expect(last[2 ** 30 - 1]).toBe(7);
    expect(() => view(hva, 2 ** 30 + 1)).toThrow(expect.objectContaining({ code: "VIEW_TOO_LONG" }));
    munmap(hva, length);
  });

  it("replaces a part with MAP_FIXED", () => {
    const hva = mmap({ length: 2 * PAGE, prot: PROT_NONE, flags: MAP_PRIVATE | MAP_ANONYMOUS });
    const fixed = mmap({ length: PAGE, prot: RW, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, address: hva });
    expect(fixed).toBe(hva);
    new Uint8Array(view(fixed, PAGE))[0] = 1;
    mprotect(hva + BigInt(PAGE), PAGE, PROT_READ);
    expect(new Uint8Array(view(hva + BigInt(PAGE), 1))[0]).toBe(0);
    munmap(hva, 2 * PAGE);
  });

  it("refuses wrong arguments and reports the kernel's refusals", () => {
    using fd = memfdCreate("named");
    expect(() => mmap({ length: 0, prot: RW, flags: MAP_SHARED, fd })).toThrow(
      "mmap memfd:named: invalid argument (EINVAL)",
    );
    expect(() => mmap({ length: PAGE, prot: RW, flags: MAP_SHARED })).toThrow("fd is needed");
    expect(() => mmap({ length: 1.5, prot: RW, flags: MAP_SHARED, fd })).toThrow("length");
    expect(() => mmap({ length: PAGE, prot: RW, flags: MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS })).toThrow("address");
    expect(() => munmap(0n, PAGE)).toThrow("hva");
    expect(() => view(4096 as never, 1)).toThrow("hva");
  });
});

describe("madvise", () => {
  it("populates, drops and sets fork and dump behaviour", () => {
    using fd = memfdCreate("p");
    ftruncate(fd, 8 * PAGE);
    const hva = mmap({ length: 8 * PAGE, prot: RW, flags: MAP_SHARED, fd });
    for (const advice of [MADV_DONTFORK, MADV_DONTDUMP, MADV_DODUMP]) madvise(hva, 8 * PAGE, advice);
    madvise(hva, 8 * PAGE, MADV_POPULATE_WRITE);
    expect(fstat(fd).blocks).toBe(64n);
    madvise(hva, 8 * PAGE, MADV_DONTNEED);
    mlock(hva, PAGE);
    munlock(hva, PAGE);
    expect(tryMadvise(hva + 1n, PAGE, MADV_DONTNEED)).toBe(-22);
    expect(() => madvise(hva, PAGE, 250)).toThrow("madvise: invalid argument (EINVAL)");
    munmap(hva, 8 * PAGE);
  });
});

it("memcmp, memcpy and memset work on addresses", () => {
  const hva = mmap({ length: 2 * PAGE, prot: RW, flags: MAP_PRIVATE | MAP_ANONYMOUS });
  const other = hva + BigInt(PAGE);
  memset(hva, 0xab, PAGE);
  expect(memcmp(hva, other, PAGE)).toBeGreaterThan(0);
  memcpy(other, hva, PAGE);
  expect(memcmp(hva, other, PAGE)).toBe(0);
  expect(() => memset(hva, 256, 1)).toThrow("byte");
  munmap(hva, 2 * PAGE);
});

describe("memfd", () => {
  it("seals its size", () => {
    using fd = memfdCreate("word", { sealable: true });
    ftruncate(fd, PAGE);
    addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW);
    expect(getSeals(fd)).toBe(F_SEAL_SHRINK | F_SEAL_GROW);
    expect(() => ftruncate(fd, 0)).toThrow("EPERM");
    expect(() => ftruncate(fd, 2 * PAGE)).toThrow("EPERM");
    addSeals(fd, F_SEAL_SEAL);
    expect(() => addSeals(fd, F_SEAL_SHRINK)).toThrow("EPERM");
  });

  it("is not sealable unless asked for", () => {
    using fd = memfdCreate("plain");
    expect(getSeals(fd)).toBe(F_SEAL_SEAL);
    expect(() => addSeals(fd, F_SEAL_GROW)).toThrow("fcntl F_ADD_SEALS memfd:plain: operation not permitted (EPERM)");
  });
});
