import { BatonError } from "@baton/linux";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { isBzImage, parseBzImage } from "./bzimage.js";

const SETUP_SECTORS = 4;

/** A bzImage as Linux 6.x has it, of 4 setup sectors and `kernelBytes` of kernel. */
function bzImage(change: (file: Buffer) => void = () => {}, kernelBytes = 4096): Buffer {
  const file = Buffer.alloc((SETUP_SECTORS + 1) * 512 + kernelBytes);
  file.writeUInt8(SETUP_SECTORS, 0x1f1);
  file.writeUInt32LE(kernelBytes / 16, 0x1f4);
  file.writeUInt16LE(0xaa55, 0x1fe);
  file.writeUInt8(0xeb, 0x200);
  file.writeUInt8(0x6a, 0x201);
  file.write("HdrS", 0x202);
  file.writeUInt16LE(0x020f, 0x206);
  file.writeUInt8(1, 0x211);
  file.writeUInt32LE(0x7fffffff, 0x22c);
  file.writeUInt16LE(0x3f, 0x236);
  file.writeUInt32LE(2047, 0x238);
  file.writeBigUInt64LE(0x1000000n, 0x258);
  file.writeUInt32LE(0x2000000, 0x260);
  change(file);
  return file;
}

function parse(file: Uint8Array): ReturnType<typeof parseBzImage> | string {
  try {
    return parseBzImage(file, "vmlinuz");
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    expect(error.message).toContain("vmlinuz");
    return error.code;
  }
}

describe("a bzImage", () => {
  it("is read", () => {
    const file = bzImage();
    expect(isBzImage(file)).toBe(true);
    expect(parse(file)).toEqual({
      protocol: 0x020f,
      kernelOffset: 2560,
      loadAddress: 0x1000000n,
      initSize: 0x2000000,
      has64BitEntry: true,
      cmdlineSize: 2047,
      initrdMax: 0x7fffffff,
      setupHeader: new Uint8Array(file.subarray(0x1f1, 0x26c)),
    });
  });

  it("has four setup sectors where it says none", () => {
    expect(parse(bzImage((file) => file.writeUInt8(0, 0x1f1)))).toMatchObject({ kernelOffset: 2560 });
  });

  it.each([
    ["without the boot flag", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt16LE(0, 0x1fe)],
    ["without the magic", "KERNEL_FORMAT", (file: Buffer) => file.write("XdrS", 0x202)],
    ["of an old protocol", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt16LE(0x0205, 0x206)],
    ["that is loaded low (zImage)", "KERNEL_FORMAT", (file: Buffer) => file.writeUInt8(0, 0x211)],
    ["for 32-bit machines", "KERNEL_ARCHITECTURE", (file: Buffer) => file.writeUInt16LE(0x3e, 0x236)],
    ["before 64-bit entries", "KERNEL_ARCHITECTURE", (file: Buffer) => file.writeUInt16LE(0x020b, 0x206)],
    ["that says it is longer", "KERNEL_TRUNCATED", (file: Buffer) => file.writeUInt32LE(0xffffffff, 0x1f4)],
    ["with more setup than file", "KERNEL_TRUNCATED", (file: Buffer) => file.writeUInt8(255, 0x1f1)],
  ])("%s is refused with %s", (_, code, change) => {
    expect(parse(bzImage(change))).toBe(code);
  });

  it("is refused wherever it is cut off", () => {
    const file = bzImage();
    for (let length = 0; length < file.length; length++) expect(typeof parse(file.subarray(0, length))).toBe("string");
  });

  it("is refused, or read within its bytes, whatever its header holds", () => {
    const change = fc.tuple(fc.integer({ min: 0x1f1, max: 0x270 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const file = bzImage((bytes) => {
          for (const [at, value] of changes) bytes.writeUInt8(value, at);
        });
        const image = parse(file);
        if (typeof image === "string") return;
        expect(image.kernelOffset).toBeLessThanOrEqual(file.length);
        expect(image.setupHeader.length).toBeLessThanOrEqual(0x290 - 0x1f1);
      }),
      { numRuns: 2000 },
    );
  });
});
