import type { StreamErrorCode } from "../stream/stream-error.js";

/** A value of a state: null is a timer that is not armed; bytes are in hexadecimal. */
export type InspectedValue =
  | number
  | bigint
  | boolean
  | string
  | null
  | readonly InspectedValue[]
  | { readonly [name: string]: InspectedValue };

/** A section with a state. */
export interface InspectedSection {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
  /** Where it starts in the file, and its length with header and footer, in bytes. */
  readonly offset: number;
  readonly bytes: number;
  /** By name; subsections by theirs. */
  readonly fields: { readonly [name: string]: InspectedValue };
}

/** A RAM block. */
export interface InspectedBlock {
  readonly id: string;
  readonly size: bigint;
  readonly gpa?: bigint | undefined;
  readonly pages: number;
  readonly zeroPages: number;
  /** Where its pages are in the file, for mapped ones. */
  readonly pagesOffset?: number | undefined;
}

/** Something between sections. */
export interface InspectedCommand {
  readonly name: string;
  readonly offset: number;
  readonly payload: string;
}

/** What is wrong with a stream. */
export interface InspectedProblem {
  readonly code: StreamErrorCode | (string & {});
  readonly message: string;
}

/** What is in a stream. */
export interface InspectedStream {
  readonly version: number;
  readonly machineType?: string | undefined;
  readonly capabilities: readonly string[];
  /** In the usual groups of digits. */
  readonly uuid?: string | undefined;
  readonly configuration: { readonly [name: string]: InspectedValue };
  readonly sections: readonly InspectedSection[];
  readonly commands: readonly InspectedCommand[];
  readonly blocks: readonly InspectedBlock[];
  /** Bytes of the stream, up to the end of its description, and of the file after it. */
  readonly bytes: number;
  readonly trailingBytes: number;
  /** Whether its checksums fit; `unchecked` where those of mapped pages were not computed. */
  readonly checksum: "absent" | "right" | "wrong" | "unchecked";
  /** Bytes of the description; 0 without one. */
  readonly descriptionBytes: number;
  /** Empty for a stream that is whole. */
  readonly problems: readonly InspectedProblem[];
}
