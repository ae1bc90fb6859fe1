import { BatonError } from "@baton/linux";

/** The parts of a bzImage's setup header that a boot loader reads (Linux, Documentation/arch/x86/boot.rst). */
export interface BzImage {
  /** The boot protocol's version, as in 0x020f. */
  readonly protocol: number;
  /** Where the protected-mode kernel starts in the file, and its bytes. */
  readonly kernelOffset: number;
  /** Where it wants to be loaded. */
  readonly loadAddress: bigint;
  /** Bytes of memory that the kernel needs from its load address before it reads the memory map. */
  readonly initSize: number;
  /** Whether it has a 64-bit entry, 0x200 after the load address. */
  readonly has64BitEntry: boolean;
  readonly cmdlineSize: number;
  readonly initrdMax: number;
  /** The setup header as it goes into the zero page at 0x1f1. */
  readonly setupHeader: Uint8Array;
}

const HEADER = 0x1f1;
const BOOT_FLAG = 0x1fe;
const MAGIC = 0x202;
const HDRS = 0x53726448;
const MIN_PROTOCOL = 0x0206;
const XLF_KERNEL_64 = 1;
const LOADED_HIGH = 1;

/** Whether the file has the boot flag and the magic of a Linux setup header. */
export function isBzImage(file: Uint8Array): boolean {
  if (file.length < 0x280) return false;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  return view.getUint16(BOOT_FLAG, true) === 0xaa55 && view.getUint32(MAGIC, true) === HDRS;
}

/**
 * Reads a bzImage's setup header. Errors: `KERNEL_FORMAT` (an older protocol than 2.06, a zImage), `KERNEL_TRUNCATED`,
 * `KERNEL_ARCHITECTURE` (no 64-bit kernel).
 */
export function parseBzImage(file: Uint8Array, name: string): BzImage {
  if (!isBzImage(file)) throw new BatonError("KERNEL_FORMAT", `${name} is not a Linux bzImage`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const protocol = view.getUint16(0x206, true);
  if (protocol < MIN_PROTOCOL || ((file[0x211] as number) & LOADED_HIGH) === 0) {
    throw new BatonError(
      "KERNEL_FORMAT",
      `${name} speaks boot protocol ${hex(protocol)}; 0x206 and a high-loaded kernel are needed`,
    );
  }
  const setupSectors = file[HEADER] || 4;
  const kernelOffset = (setupSectors + 1) * 512;
  const size = view.getUint32(0x1f4, true) * 16;
  if (kernelOffset + size > file.length) {
    throw new BatonError(
      "KERNEL_TRUNCATED",
      `${name} is truncated: its kernel ends at byte ${kernelOffset + size} of ${file.length}`,
    );
  }
  const xloadflags = protocol >= 0x020c ? view.getUint16(0x236, true) : 0;
  if ((xloadflags & XLF_KERNEL_64) === 0) {
    throw new BatonError("KERNEL_ARCHITECTURE", `${name} has no 64-bit entry: it is not an x86-64 kernel`);
  }
  const headerEnd = MAGIC + (file[0x201] as number);
  return {
    protocol,
    kernelOffset,
    loadAddress: protocol >= 0x020a ? view.getBigUint64(0x258, true) : 0x100000n,
    initSize: protocol >= 0x020a ? view.getUint32(0x260, true) : size,
    has64BitEntry: true,
    cmdlineSize: view.getUint32(0x238, true) || 255,
    initrdMax: view.getUint32(0x22c, true),
    setupHeader: file.slice(HEADER, Math.min(Math.max(headerEnd, 0x250), 0x290)),
  };
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
