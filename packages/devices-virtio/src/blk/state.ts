import { StateReader } from "../device/state.js";
import type { ChainState } from "../queue/chain.js";

/** A request that an error of the host has stopped with the VM. */
export interface HeldState {
  /** The number of its queue. */
  readonly queue: number;
  readonly chain: ChainState;
}

/** What a block device saves: requests are in the rings, data in the image. */
export interface BlkState {
  /** Bytes. */
  readonly capacity: number;
  readonly writeback: boolean;
  /** What was taken from the rings and not answered, in its order. */
  readonly held: readonly HeldState[];
  /** What the image keeps beside its files. */
  readonly image: unknown;
}

/** Checks the state of a device of so many queues; `image` is the image's to check, chains are the queues'. */
export function readBlkState(id: string, state: unknown, queues: number, queueSize: number): BlkState {
  const reader = new StateReader(id, state, "device");
  return {
    capacity: reader.integer("capacity", 0, Number.MAX_SAFE_INTEGER),
    writeback: reader.boolean("writeback"),
    held: reader.list("held", queues * queueSize, (element, path) => {
      const held = new StateReader(id, element, path);
      held.object("chain");
      return { queue: held.integer("queue", 0, queues - 1), chain: held.raw("chain") as ChainState };
    }),
    image: reader.raw("image"),
  };
}
