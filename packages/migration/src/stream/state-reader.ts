import { ByteReader, VmstateError } from "../vmstate/index.js";
import { streamError } from "./stream-error.js";
import { NEED_BYTES, type NeedBytes, type StreamInput } from "./stream-input.js";

/**
 * Reads something whose length is not in the stream: tries with what is there, and again with more of it while it ends
 * too early. Throws `STREAM_SECTION_SIZE` where more than `most` bytes would be needed.
 */
export function* readUnmeasured<T>(
  input: StreamInput,
  what: string,
  most: number,
  read: (reader: ByteReader) => T,
): Generator<NeedBytes, T, void> {
  for (;;) {
    const bytes = input.peek();
    const reader = new ByteReader(bytes, 0, input.offset);
    let missing = 1;
    try {
      const value = read(reader);
      if (!reader.starved || input.ended) {
        input.skip(reader.offset);
        return value;
      }
    } catch (error) {
      // What was missed where bytes were missing may be why the rest makes no sense.
      const short = reader.starved ? 1 : shortfall(error);
      if (short === undefined || input.ended) throw error;
      missing = short;
    }
    if (bytes.length + missing > most) {
      throw streamError("STREAM_SECTION_SIZE", `${what} takes more than ${most} bytes`, input.offset, { most });
    }
    while (input.available < bytes.length + missing && !input.ended) yield NEED_BYTES;
  }
}

/** The bytes that an error says are missing. */
function shortfall(error: unknown): number | undefined {
  if (!(error instanceof VmstateError)) return undefined;
  if (error.code !== "VMSTATE_TRUNCATED" && error.code !== "VMSTATE_COUNT") return undefined;
  const { needed, left } = error.details;
  return typeof needed === "number" && typeof left === "number" ? Math.max(1, needed - left) : undefined;
}
