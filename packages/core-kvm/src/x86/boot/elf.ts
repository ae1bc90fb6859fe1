import { BatonError } from "@baton/linux";

/** A loadable segment of an ELF file; offsets and sizes in bytes. */
export interface ElfSegment {
  readonly paddr: bigint;
  readonly fileOffset: number;
  readonly fileSize: number;
  readonly memSize: bigint;
}

/** What a boot loader needs of an x86-64 (or, for PVH, i386) kernel in ELF form. */
export interface ElfImage {
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  /** The 32-bit entry of the PVH boot protocol, where the file has the Xen note that names it. */
  readonly pvhEntry: bigint | null;
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;
/** `XEN_ELFNOTE_PHYS32_ENTRY` (Xen public header elfnote.h). */
const PHYS32_ENTRY = 18;
const MAX_SEGMENTS = 128;

/** Whether the file begins as an ELF file does. */
export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * Reads an ELF kernel's headers. Every offset is checked against the file.
 * Errors: `KERNEL_FORMAT` (not ELF, not little-endian), `KERNEL_ARCHITECTURE`, `KERNEL_TRUNCATED`.
 */
export function parseElf(file: Uint8Array, name: string): ElfImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (!isElf(file) || file.length < 52 || file[5] !== 1)
    throw new BatonError("KERNEL_FORMAT", `${name} is not a little-endian ELF file`);
  const wide = file[4] === 2;
  const machine = view.getUint16(18, true);
  if (machine !== EM_X86_64 && machine !== EM_386) {
    throw new BatonError("KERNEL_ARCHITECTURE", `${name} is built for ELF machine ${machine}, not for x86-64`);
  }
  const need = (end: number, what: string) => {
    if (!Number.isSafeInteger(end) || end > file.length) {
      throw new BatonError("KERNEL_TRUNCATED", `${name} is truncated: ${what} ends at byte ${end} of ${file.length}`);
    }
  };
  need(wide ? 64 : 52, "the ELF header");
  const word = (offset: number) => (wide ? view.getBigUint64(offset, true) : BigInt(view.getUint32(offset, true)));
  const tableOffset = Number(word(wide ? 32 : 28));
  const entrySize = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (entrySize < (wide ? 56 : 32) || count > MAX_SEGMENTS) {
    throw new BatonError(
      "KERNEL_FORMAT",
      `${name} has an impossible program header table (${count} entries of ${entrySize} bytes)`,
    );
  }
  need(tableOffset + entrySize * count, "the program header table");
  const segments: ElfSegment[] = [];
  let pvhEntry: bigint | null = null;
  for (let i = 0; i < count; i++) {
    const at = tableOffset + i * entrySize;
    const type = view.getUint32(at, true);
    const fileOffset = Number(word(at + (wide ? 8 : 4)));
    const paddr = word(at + (wide ? 24 : 12));
    const fileSize = Number(word(at + (wide ? 32 : 16)));
    const memSize = word(at + (wide ? 40 : 20));
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    need(fileOffset + fileSize, `segment ${i}`);
    if (type === PT_NOTE) pvhEntry ??= findPvhEntry(view, fileOffset, fileSize);
    else if (memSize > 0n) segments.push({ paddr, fileOffset, fileSize: Math.min(fileSize, Number(memSize)), memSize });
  }
  if (segments.length === 0) throw new BatonError("KERNEL_FORMAT", `${name} has no loadable segment`);
  return { entry: word(24), segments, pvhEntry };
}

function findPvhEntry(view: DataView, offset: number, size: number): bigint | null {
  const end = offset + size;
  for (let at = offset; at + 12 <= end; ) {
    const nameSize = view.getUint32(at, true);
    const descSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const desc = at + 12 + align4(nameSize);
    if (desc + descSize > end) return null;
    if (type === PHYS32_ENTRY && nameSize === 4 && descSize >= 4 && view.getUint32(at + 12, true) === 0x006e6558) {
      return descSize >= 8 ? view.getBigUint64(desc, true) : BigInt(view.getUint32(desc, true));
    }
    at = desc + align4(descSize);
  }
  return null;
}

function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}
