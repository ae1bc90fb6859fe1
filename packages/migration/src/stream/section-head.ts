import { readName } from "./page-reader.js";
import type { SectionName } from "./section.js";
import type { NeedBytes, StreamInput } from "./stream-input.js";

/** What stands before a section's state. */
export interface SectionHead {
  /** The number that its parts and its footer repeat. */
  readonly id: number;
  readonly name: SectionName;
  readonly version: number;
}

/** Reads the head of a section that begins here, after its tag. */
export function* readSectionHead(input: StreamInput): Generator<NeedBytes, SectionHead, void> {
  yield* input.need(4);
  const id = input.u32();
  const idstr = yield* readName(input);
  yield* input.need(8);
  const instanceId = input.u32();
  return { id, name: { idstr, instanceId }, version: input.u32() };
}
