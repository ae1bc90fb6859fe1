import { TestbedError } from "./errors.js";

const LEGACY_MAGIC = 0x184c2102;
/** The legacy frame cuts its input into blocks of this size. */
const BLOCK_SIZE = 8 << 20;

/**
 * Decodes an LZ4 legacy frame (LZ4 frame format, section "Legacy frame"), the format of Linux kernel images.
 * `size` is the decoded size, which the kernel's build appends to the frame; throws `ARCHIVE_INVALID` on bad data.
 */
export function decodeLz4Legacy(input: Buffer, size: number): Buffer {
  if (input.length < 8 || input.readUInt32LE(0) !== LEGACY_MAGIC) {
    throw new TestbedError("ARCHIVE_INVALID", "this is no LZ4 legacy frame");
  }
  const output = Buffer.allocUnsafe(size);
  let at = 4;
  let length = 0;
  while (length < size && at + 4 <= input.length) {
    const blockSize = input.readUInt32LE(at);
    at += 4;
    const end = at + blockSize;
    if (end > input.length) throw new TestbedError("ARCHIVE_INVALID", "an LZ4 block ends outside the frame");
    length = decodeBlock(input, at, end, output, length, Math.min(length + BLOCK_SIZE, size));
    at = end;
  }
  if (length !== size) throw new TestbedError("ARCHIVE_INVALID", `LZ4 gave ${length} bytes, not ${size}`);
  return output;
}

function decodeBlock(
  input: Buffer,
  start: number,
  end: number,
  output: Buffer,
  outStart: number,
  limit: number,
): number {
  let at = start;
  let out = outStart;
  const readLength = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15) {
      for (let byte = 255; byte === 255; ) {
        byte = input[at++] ?? 0;
        length += byte;
      }
    }
    return length;
  };
  while (at < end) {
    const token = input[at++]!;
    const literals = readLength(token >> 4);
    if (at + literals > end || out + literals > limit)
      throw new TestbedError("ARCHIVE_INVALID", "LZ4 literals too long");
    input.copy(output, out, at, at + literals);
    at += literals;
    out += literals;
    if (at >= end) break;
    const offset = input[at]! | (input[at + 1]! << 8);
    at += 2;
    const match = readLength(token & 15) + 4;
    if (offset === 0 || offset > out - outStart || out + match > limit) {
      throw new TestbedError("ARCHIVE_INVALID", "an LZ4 match lies outside its block");
    }
    if (offset >= match) {
      output.copyWithin(out, out - offset, out - offset + match);
      out += match;
    } else {
      for (let copied = 0; copied < match; copied++, out++) output[out] = output[out - offset]!;
    }
  }
  return out;
}
