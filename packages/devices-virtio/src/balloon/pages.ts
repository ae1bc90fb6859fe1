import { BatonError, EINVAL, MADV_DONTNEED, MADV_REMOVE, madvise } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";

/** Bytes of a page of a balloon, whatever the guest's own are (virtio 1.2, 5.5.6). */
export const BALLOON_PAGE = 4096;

/** Puts page numbers in order and joins neighbours: pairs of guest address and length, in bytes. */
export function pageRanges(pages: Uint32Array): { readonly gpa: number; readonly length: number }[] {
  const sorted = pages.slice().sort();
  const ranges: { gpa: number; length: number }[] = [];
  for (const page of sorted) {
    const gpa = page * BALLOON_PAGE;
    const last = ranges[ranges.length - 1];
    if (last !== undefined && gpa < last.gpa + last.length) continue;
    if (last !== undefined && gpa === last.gpa + last.length) last.length += BALLOON_PAGE;
    else ranges.push({ gpa, length: BALLOON_PAGE });
  }
  return ranges;
}

/**
 * Gives the memory behind a range back to the host; it reads as zeroes, or as its file, afterwards. Ranges that are not
 * RAM, and pages larger than the range, are left alone. Returns the bytes given back.
 */
export function discardRange(memory: GuestMemory, gpa: number, length: number): number {
  if (!memory.has(gpa, length)) return 0;
  let given = 0;
  for (const piece of memory.pieces(gpa, length)) {
    if (advise(piece.address, piece.length, MADV_REMOVE) || advise(piece.address, piece.length, MADV_DONTNEED)) {
      given += piece.length;
    }
  }
  memory.markDirty(gpa, length);
  return given;
}

/** False where this kind of memory does not take the advice. */
function advise(hva: bigint, length: number, advice: number): boolean {
  try {
    madvise(hva, length, advice);
    return true;
  } catch (error) {
    if (BatonError.is(error) && (error.errno === EINVAL || error.errnoName === "EOPNOTSUPP")) return false;
    throw error;
  }
}
