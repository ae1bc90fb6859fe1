import { array, type StateOf, struct, u32, vmstate } from "../vmstate/index.js";

/** The section with the checksums: the last before the end of the device stream. */
export const CHECKSUM_SECTION = "baton/checksum";

const mappedBlock = vmstate({
  name: "baton/checksum-block",
  version: 1,
  fields: { bitmap: u32, pages: u32 },
});

/**
 * CRC-32 (that of zlib and IEEE 802.3) of everything before the section but the contents of pages, of those in the
 * order of the stream, of what follows the end mark, and of bitmap and pages of each block that has mapped pages.
 */
export const checksums = vmstate({
  name: CHECKSUM_SECTION,
  version: 1,
  fields: {
    stream: u32,
    pages: u32,
    description: u32,
    blockCount: u32,
    blocks: array("blockCount", struct(mappedBlock)),
  },
});

/** The checksums of a stream. */
export type Checksums = StateOf<typeof checksums>;
