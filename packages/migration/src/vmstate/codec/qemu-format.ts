import type { ByteReader } from "./byte-reader.js";
import type { ByteWriter } from "./byte-writer.js";

/** Announces a subsection. QEMU: `QEMU_VM_SUBSECTION`. */
export const SUBSECTION = 0x05;
/** Stands for an absent element of an array of pointers. QEMU: `VMS_NULLPTR_MARKER`, the character 0. */
export const NULL_POINTER = 0x30;
/** Before each element of a list. */
export const MARK_ELEMENT = 0x01;
/** After the last element of a list. */
export const MARK_END = 0x00;

/** Sends a descriptor over the channel and writes what stands for it in the stream. */
export type QemuFdWriter = (fd: number, writer: ByteWriter) => void;
/** Reads what stands for a descriptor in the stream and returns the one that came over the channel. */
export type QemuFdReader = (reader: ByteReader) => number;
