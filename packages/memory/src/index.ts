/**
 * Guest RAM: blocks of memory with a descriptor, the guest's address space, dirty pages, zero pages.
 *
 * @packageDocumentation
 */

// For users.
export type { BackendDescription, BackendOptions } from "./backend/backend.js";
// For implementers of backends and of migration.
export { PAGE_SIZE } from "./backend/backend.js";
export { filePageSize } from "./backend/page-size.js";
export { DirtyBitmap, type DirtyRange } from "./dirty-bitmap.js";
export { DirtyLog, type DirtyLogDescriptor, type DirtyReader } from "./dirty-log.js";
export {
  type Gpa,
  GuestMemory,
  type GuestMemoryDescriptor,
  type GuestRegion,
  type RegionDescriptor,
} from "./guest-memory.js";
export { type LayoutOptions, type LayoutRegion, layoutRam, PCI_HOLE_END, PCI_HOLE_START } from "./layout.js";
export {
  dataRanges,
  isZero,
  type MappedRam,
  type NonZeroOptions,
  nonZeroRanges,
  type PageRange,
  type RangeOptions,
} from "./pages.js";
export type { PrefaultOptions } from "./prefault.js";
export {
  type CreateRamBlockOptions,
  RamBlock,
  type RamBlockFromFdOptions,
  type RamBlockOptions,
  type RebaseEvent,
  type RebaseOptions,
} from "./ram-block.js";
export { CHUNK_BYTES } from "./region.js";
