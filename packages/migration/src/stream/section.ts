import type { VmstateDescriptor } from "../vmstate/index.js";
import { LONGEST_NAME } from "./format.js";
import { streamError } from "./stream-error.js";

/** The name of a section: which device, and which of several. */
export interface SectionName {
  /** As in `0000:00:01.0/virtio-blk`, at most 127 bytes. */
  readonly idstr: string;
  readonly instanceId: number;
}

/** A state that is written. */
export interface OutgoingSection extends SectionName {
  readonly descriptor: VmstateDescriptor;
  /** Of the descriptor's type. */
  readonly state: unknown;
}

/** A state that is expected. */
export interface ExpectedSection extends SectionName {
  readonly descriptor: VmstateDescriptor;
  /** This side's state before the load, as after a reset. */
  readonly local?: unknown;
  /** Refuses a state as soon as it has come, by throwing: before what follows it is read. */
  readonly check?: ((state: unknown) => void) | undefined;
}

/** A state that came. */
export interface IncomingSection extends SectionName {
  readonly descriptor: VmstateDescriptor;
  /** That of the stream. */
  readonly version: number;
  readonly state: unknown;
}

/** How messages call a section. */
export function formatSection({ idstr, instanceId }: SectionName): string {
  return instanceId === 0 ? `'${idstr}'` : `'${idstr}' ${instanceId}`;
}

/** What a section is found by. */
export function sectionKey({ idstr, instanceId }: SectionName): string {
  return `${instanceId}:${idstr}`;
}

/** Throws `STREAM_VALUE` for names that cannot be, or that two sections have. */
export function checkSections(sections: readonly SectionName[], reserved: readonly string[]): void {
  const keys = new Set<string>();
  for (const section of sections) {
    const { idstr, instanceId } = section;
    const bytes = Buffer.byteLength(idstr);
    if (bytes === 0 || bytes > LONGEST_NAME) {
      throw streamError("STREAM_VALUE", `a section's name has 1 to ${LONGEST_NAME} bytes, '${idstr}' has ${bytes}`);
    }
    if (!Number.isInteger(instanceId) || instanceId < 0 || instanceId > 0xffff_ffff) {
      throw streamError("STREAM_VALUE", `section '${idstr}': ${instanceId} is no instance`);
    }
    if (reserved.includes(idstr)) throw streamError("STREAM_VALUE", `the section name '${idstr}' is taken`);
    const key = sectionKey(section);
    if (keys.has(key)) throw streamError("STREAM_VALUE", `two sections are called ${formatSection(section)}`);
    keys.add(key);
  }
}
