import { bool, buffer, existsIf, list, type StateOf, struct, u16, u32, u64, vmstate } from "@baton/migration/vmstate";
import { virtioSections } from "../device/sections.js";
import { deviceStateError } from "../device/state.js";
import { chainVmstate, saveChain } from "../queue/vmstate.js";
import type { OverlayState } from "./image/overlay.js";
import type { BlkState } from "./state.js";

/** Bytes of a request in QEMU's layout: its own structure, with room for 1,024 pieces each way. */
const QEMU_REQUEST_BYTES = 49_168;

const held = vmstate({ name: "baton/held", version: 1, fields: { queue: u32, chain: struct(chainVmstate) } });
const bitmapBlock = vmstate({
  name: "baton/overlay-block",
  version: 1,
  fields: { block: u32, length: u16, bits: buffer("length") },
});

/** Baton's part: the disk, the requests that stopped with the VM, and what an overlay has not written yet. */
const own = vmstate({
  name: "baton/virtio-blk",
  version: 1,
  fields: {
    capacity: u64,
    writeback: bool,
    held: list(struct(held)),
    isOverlay: bool,
    bitmap: list(struct(bitmapBlock)),
  },
});

/** A request in QEMU's layout; it says whose only where the disk has several queues. */
function request(queues: number) {
  const fields = { queue: existsIf([], () => queues > 1, u32, 0), element: buffer(QEMU_REQUEST_BYTES) };
  return vmstate({ name: "request", version: 1, fields });
}

/**
 * Sections of disks: QEMU's `virtio-blk`, version 2, and {@link own}. QEMU's list of requests is empty from Baton and
 * must be empty for it: requests that are held are chains in Baton's part. QEMU: hw/block/virtio-blk.c.
 */
export const blkSections = virtioSections({
  name: "virtio-blk",
  version: 2,
  fields: (queues) => ({ requests: list(struct(request(queues))) }),
  own,
  split(device: BlkState) {
    const { bitmap } = device.image as Partial<OverlayState>;
    const section: StateOf<typeof own> = {
      capacity: BigInt(device.capacity),
      writeback: device.writeback,
      held: device.held.map(({ queue, chain }) => ({ queue, chain: saveChain(chain) })),
      isOverlay: bitmap !== undefined,
      bitmap: (bitmap ?? []).map(({ block, bits }) => ({ block, length: bits.length, bits })),
    };
    return { qemu: { requests: [] }, own: section };
  },
  join({ requests }, { capacity, writeback, held, isOverlay, bitmap }): BlkState {
    if (requests.length > 0)
      throw deviceStateError("virtio-blk", "requests", "are of a QEMU that had not answered them");
    const blocks = bitmap.map(({ block, bits }) => ({ block, bits }));
    return { capacity: Number(capacity), writeback, held, image: isOverlay ? { bitmap: blocks } : {} };
  },
});
