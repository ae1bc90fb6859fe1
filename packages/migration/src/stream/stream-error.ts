import { BatonError } from "@baton/linux";

/** What is wrong with a stream; stable literals. */
export type StreamErrorCode =
  /** It does not start as a stream does. */
  | "STREAM_HEADER"
  /** Machine type, page size, capabilities or UUID are not this side's. */
  | "STREAM_CONFIGURATION"
  /** It ends too early. */
  | "STREAM_TRUNCATED"
  /** A byte that starts no element. */
  | "STREAM_ELEMENT"
  /** A section that this side does not have. */
  | "STREAM_SECTION_UNKNOWN"
  /** A section that this side has and the stream does not. */
  | "STREAM_SECTION_MISSING"
  /** A section that came before. */
  | "STREAM_SECTION_TWICE"
  /** A section in a version that this side cannot load. */
  | "STREAM_SECTION_VERSION"
  /** A part of a section that was not started. */
  | "STREAM_SECTION_ID"
  /** A section is longer than allowed. */
  | "STREAM_SECTION_SIZE"
  /** What follows a section is not its footer: its content was longer or shorter than this side reads. */
  | "STREAM_FOOTER"
  /** A command with a bad length, or one that is not served. */
  | "STREAM_COMMAND"
  /** A block list or page record that cannot be. */
  | "STREAM_RAM"
  /** A way to carry pages that is not supported. */
  | "STREAM_RAM_UNSUPPORTED"
  /** Contents do not fit their checksum. */
  | "STREAM_CHECKSUM"
  /** There are no checksums. */
  | "STREAM_CHECKSUM_MISSING"
  /** The description at the end is not what it must be. */
  | "STREAM_DESCRIPTION"
  /** What is to be written breaks a rule of the format. */
  | "STREAM_VALUE";

/** An error that names the place in a stream. */
export function streamError(
  code: StreamErrorCode,
  message: string,
  offset?: number,
  details: Readonly<Record<string, unknown>> = {},
): BatonError {
  const at = offset === undefined ? "" : ` (at byte ${offset} of the stream)`;
  return new BatonError(code, `${message}${at}`, {
    details: { ...details, ...(offset === undefined ? {} : { offset }) },
  });
}
