import { BatonError } from "@baton/linux";
import { buffer, list, struct, u16, u32, vmstate } from "@baton/migration/vmstate";

/** Bytes that differ from what was expected, at their offset. */
export interface BytePatch {
  at: number;
  length: number;
  bytes: Uint8Array;
}

/** Two differences so near are one patch: its header would cost as much. */
const GAP = 6;
const MAX_LENGTH = 0xffff;

/** Describes one {@link BytePatch}. */
const bytePatch = vmstate({
  name: "baton/byte-patch",
  version: 1,
  fields: { at: u32, length: u16, bytes: buffer("length") },
});

/** A field of patches, in the order of their offsets. */
export const bytePatches = list(struct(bytePatch));

/** What has to be put over `expected` to get `actual`; both have the same length. */
export function patchesBetween(expected: Uint8Array, actual: Uint8Array): BytePatch[] {
  const patches: BytePatch[] = [];
  let at = 0;
  while (at < actual.length) {
    if (expected[at] === actual[at]) {
      at++;
      continue;
    }
    let end = at + 1;
    for (let i = end; i < actual.length && i < end + GAP && i < at + MAX_LENGTH; i++) {
      if (expected[i] !== actual[i]) end = i + 1;
    }
    patches.push({ at, length: end - at, bytes: actual.slice(at, end) });
    at = end;
  }
  return patches;
}

/** Puts patches over `bytes`, in place. Throws `STATE_INVALID`, naming `what`, for one that is not within. */
export function applyPatches(what: string, bytes: Uint8Array, patches: readonly BytePatch[]): Uint8Array {
  for (const { at, bytes: patch } of patches) {
    if (at + patch.length > bytes.length) {
      throw new BatonError("STATE_INVALID", `${what}: bytes ${at} to ${at + patch.length} of ${bytes.length}`);
    }
    bytes.set(patch, at);
  }
  return bytes;
}
