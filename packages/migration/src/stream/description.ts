/** One field of a state, as the description at the end of a stream tells of it. */
export interface DescribedField {
  readonly name: string;
  /** The element of an array that this is about. */
  readonly index?: number;
  /** So many elements of the same shape. */
  readonly array_len?: number;
  /** `struct`, `vstruct` or the name of an encoding, as in `uint32`. */
  readonly type: string;
  readonly struct?: DescribedState;
  /** Bytes of one element. */
  readonly size: number;
}

/** The fields and subsections of a state in the order of the stream. */
export interface DescribedState {
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields: readonly DescribedField[];
  readonly subsections?: readonly DescribedState[];
}

/** A section with a state. */
export interface DescribedSection extends DescribedState {
  readonly name: string;
  readonly instance_id: number;
}

/** What stands at the end of a stream and tells what is in it. QEMU: migration/savevm.c, "vmdesc". */
export interface StreamDescription {
  readonly configuration?: DescribedState;
  /** Bytes. */
  readonly page_size: number;
  readonly devices: readonly DescribedSection[];
}

/** The longest description that is read, in bytes. */
export const LONGEST_DESCRIPTION = 10 * 2 ** 20;

/**
 * The description in JSON. It ends in a space where the bytes of its length would be taken for its start: readers look
 * for the brace.
 */
export function encodeDescription(description: StreamDescription): Uint8Array {
  const text = JSON.stringify(description);
  let bytes = new TextEncoder().encode(text);
  for (let padding = " "; lengthHasBrace(bytes.length); padding += " ") {
    bytes = new TextEncoder().encode(text + padding);
  }
  return bytes;
}

const BRACE = 0x7b;

function lengthHasBrace(length: number): boolean {
  return [length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff].includes(BRACE);
}
