import { readFileSync } from "node:fs";
import { BatonError } from "@baton/linux";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { isElf, parseElf } from "./elf.js";

const hello = readFileSync(new URL("../../../../../guests/images/hello.elf", import.meta.url));

/** A 64-bit ELF file of one loadable segment and one segment of notes. */
function elf(notes: Buffer, change: (file: Buffer) => void = () => {}): Buffer {
  const file = Buffer.alloc(64 + 2 * 56);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(62, 18);
  file.writeBigUInt64LE(0x123n, 24);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  const header = (at: number, type: number, offset: number, size: number) => {
    file.writeUInt32LE(type, at);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(0x100000n, at + 24);
    file.writeBigUInt64LE(BigInt(size), at + 32);
    file.writeBigUInt64LE(BigInt(size), at + 40);
  };
  header(64, 1, 0, 64);
  header(120, 4, file.length, notes.length);
  change(file);
  return Buffer.concat([file, notes]);
}

function note(name: string, type: number, desc: Buffer, sizes: { name?: number; desc?: number } = {}): Buffer {
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  const head = Buffer.alloc(12);
  const nameBytes = Buffer.from(`${name}\0`);
  head.writeUInt32LE(sizes.name ?? nameBytes.length, 0);
  head.writeUInt32LE(sizes.desc ?? desc.length, 4);
  head.writeUInt32LE(type, 8);
  return Buffer.concat([head, padded(nameBytes), padded(desc)]);
}

const entry = (value: number) => {
  const desc = Buffer.alloc(4);
  desc.writeUInt32LE(value);
  return desc;
};

/** Parses, where nothing but an error of the parser's own may come out. */
function parse(file: Uint8Array): ReturnType<typeof parseElf> | string {
  try {
    return parseElf(file, "kernel");
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    expect(error.code).toMatch(/^KERNEL_/);
    expect(error.message).toContain("kernel");
    return error.code;
  }
}

/** What a loader relies on. */
function check(file: Uint8Array): void {
  const image = parse(file);
  if (typeof image === "string") return;
  for (const { fileOffset, fileSize, memSize } of image.segments) {
    expect(fileOffset + fileSize).toBeLessThanOrEqual(file.length);
    expect(BigInt(fileSize)).toBeLessThanOrEqual(memSize);
  }
}

describe("ELF kernels", () => {
  it("are read: a real image with its PVH entry", () => {
    expect(isElf(hello)).toBe(true);
    const image = parseElf(hello, "hello");
    expect(image.pvhEntry).toBe(0x100000n);
    expect(image.segments[0]).toMatchObject({ paddr: 0x100000n });
  });

  it("name their PVH entry in a note, wherever it stands and however wide it is", () => {
    const other = note("GNU", 3, Buffer.from("12345"));
    const wide = Buffer.concat([entry(0x1000), entry(1)]);
    expect(parse(elf(note("Xen", 18, entry(0x1000))))).toMatchObject({ pvhEntry: 0x1000n, entry: 0x123n });
    expect(parse(elf(Buffer.concat([other, note("Xen", 18, wide)])))).toMatchObject({ pvhEntry: 0x1_0000_1000n });
    expect(parse(elf(Buffer.concat([other, note("Xen", 6, entry(1))])))).toMatchObject({ pvhEntry: null });
    expect(parse(elf(note("Xan", 18, entry(1))))).toMatchObject({ pvhEntry: null });
    expect(parse(elf(Buffer.alloc(0)))).toMatchObject({ pvhEntry: null });
  });

  it.each([
    ["a name of almost 4 GiB", { name: 0xfffffff0 }],
    ["a name that wraps to nothing", { name: 0xffffffff }],
    ["a description of almost 4 GiB", { desc: 0xfffffffc }],
    ["a description of no bytes", { desc: 0 }],
    ["a description of three bytes", { desc: 3 }],
  ])("with a note of %s have no PVH entry", (_, sizes) => {
    expect(parse(elf(note("Xen", 18, entry(1), sizes)))).toMatchObject({ pvhEntry: null });
    expect(parse(elf(note("Xen", 18, Buffer.alloc(0), sizes)))).toMatchObject({ pvhEntry: null });
  });

  it.each([
    ["a machine that is not x86", "KERNEL_ARCHITECTURE", (file: Buffer) => file.writeUInt16LE(183, 18)],
    ["the other byte order", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt8(2, 5)],
    ["too many segments", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt16LE(0xffff, 56)],
    ["headers that are too small", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt16LE(8, 54)],
    ["headers beyond the end", "KERNEL_TRUNCATED", (file: Buffer) => file.writeBigUInt64LE(1n << 63n, 32)],
    ["a segment beyond the end", "KERNEL_TRUNCATED", (file: Buffer) => file.writeBigUInt64LE((1n << 64n) - 8n, 72)],
    ["a segment longer than the file", "KERNEL_TRUNCATED", (file: Buffer) => file.writeBigUInt64LE(1n << 40n, 96)],
    ["no loadable segment", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt32LE(7, 64)],
  ])("with %s are refused with %s", (_, code, change) => {
    expect(parse(elf(note("Xen", 18, entry(1)), change))).toBe(code);
  });

  it("are refused, or read within their bytes, wherever they are cut off", () => {
    for (let length = 0; length < hello.length; length++) check(hello.subarray(0, length));
    const small = elf(note("Xen", 18, entry(1)));
    for (let length = 0; length < small.length; length++) {
      expect(typeof parse(small.subarray(0, length))).toBe("string");
    }
  });

  it("are refused, or read within their bytes, whatever their bytes are", () => {
    const values = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
    const changes = fc.array(fc.tuple(fc.nat({ max: 400 }), values), { minLength: 1, maxLength: 8 });
    const small = elf(note("Xen", 18, entry(1)));
    fc.assert(
      fc.property(fc.constantFrom(hello, small), changes, (original, list) => {
        const file = Buffer.from(original);
        for (const [at, value] of list) file[at % file.length] = value;
        check(file);
      }),
      { numRuns: 3000 },
    );
  });
});
