import type { VirtioDeviceDescription } from "../device/description.js";
import type { BlkDeviceOptions } from "./options.js";

/** Descriptors of the queue of a place for a disk. */
const QUEUE_SIZE = 256;

/**
 * A place for a disk that holds none: the guest finds a disk of 0 bytes. Disks of one queue of 256 descriptors can take
 * its place, and leave it, while the guest runs; `id` is what messages and states call the place.
 */
export function emptyBlk({ id }: { readonly id: string }): VirtioDeviceDescription {
  return {
    kind: "virtio",
    model: "virtio-blk",
    id,
    queues: 1,
    empty: true,
    factory: "createBlkDevice",
    open() {
      const options: BlkDeviceOptions = {
        image: { kind: "none" },
        path: "",
        direct: false,
        readOnly: false,
        queues: 1,
        queueSize: QUEUE_SIZE,
        serial: "",
        discard: true,
        detectZeroes: "off",
        readError: "report",
        writeError: "report",
        limits: {},
      };
      return { options, close: () => {} };
    },
  };
}
