/** "QEVM". */
export const STREAM_MAGIC = 0x5145_564d;
export const STREAM_VERSION = 3;
export const STREAM_VERSION_OBSOLETE = 2;

/** What stands before each element of a stream. QEMU: migration/savevm.h `QEMU_VM_*`. */
export const TAG = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  description: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** The flags in the low bits of a page record's first word. QEMU: migration/ram.h `RAM_SAVE_FLAG_*`. */
export const RAM_FLAG = {
  full: 0x001,
  zero: 0x002,
  memSize: 0x004,
  page: 0x008,
  eos: 0x010,
  continue: 0x020,
  xbzrle: 0x040,
  hook: 0x080,
  compress: 0x100,
  multifdFlush: 0x200,
} as const;

/** What a page record is about, in bytes. */
export const STREAM_PAGE_SIZE = 4096;
/** The version of the `ram` section. */
export const RAM_VERSION = 4;
/** Names are shorter in what is written: some readers take the length byte as signed. */
export const LONGEST_NAME = 127;
/** The places of mapped pages are multiples of this. */
export const MAPPED_ALIGNMENT = 0x10_0000;
/** Bytes of the header of a block with mapped pages. */
export const MAPPED_HEADER_BYTES = 28;
export const MAPPED_VERSION = 1;

/** Bytes of the bitmap of so many pages: whole words of 64 bits. */
export function bitmapBytes(pages: number): number {
  return Math.ceil(pages / 64) * 8;
}
