import type { GuestMemory } from "@baton/memory";
import type { Chain, ChainState } from "./chain.js";

/** Where a queue stands (virtio 1.2, 2.6): guest addresses of its three areas, and how many descriptors it has. */
export interface QueueLayout {
  /** A power of two if split (2.7); any number if packed (2.8); at most 32768. */
  readonly size: number;
  /** Descriptor area: the descriptor table (2.7.5) or the ring (2.8.13). 16-byte aligned. */
  readonly desc: bigint;
  /** Driver area: the available ring (2.7.6, 2-byte aligned) or the driver's event suppression (2.8.14, 4-byte). */
  readonly driver: bigint;
  /** Device area: the used ring (2.7.8) or the device's event suppression (2.8.14). 4-byte aligned. */
  readonly device: bigint;
}

/** What a queue needs to know when it is made. */
export interface QueueOptions {
  /** Its number on the device. */
  readonly index: number;
  /** As this thread sees it. */
  readonly memory: GuestMemory;
  /** The largest size that the driver may choose; 32768 unless given. */
  readonly maxSize?: number;
  /** The negotiated feature bits. */
  readonly features: bigint;
}

/** A buffer that the device has. */
export interface InFlightState {
  readonly id: number;
  readonly descriptors: number;
  /** In order only: the device is done with it, but not with one before it; else null. */
  readonly written: number | null;
}

/** What both kinds of queue save. */
export interface QueueStateBase extends QueueLayout {
  /** Configured; without it all else is zero. */
  readonly ready: boolean;
  readonly broken: boolean;
  /** Split: used buffers, packed: descriptors, that `needsNotification` has not looked at. At most 65536. */
  readonly unsignalled: number;
  /** What the device has, in the order in which it was popped. */
  readonly inFlight: readonly InFlightState[];
}

/** A split queue as plain data. */
export interface SplitQueueState extends QueueStateBase {
  readonly kind: "split";
  /** The next available index to pop, 16 bits. */
  readonly lastAvail: number;
  /** The used index, 16 bits. */
  readonly lastUsed: number;
}

/** A packed queue as plain data. */
export interface PackedQueueState extends QueueStateBase {
  readonly kind: "packed";
  /** The place of the next descriptor to pop. */
  readonly lastAvail: number;
  /** The driver's wrap counter there (virtio 1.2, 2.8.1). */
  readonly availWrap: boolean;
  /** The place of the next descriptor to use. */
  readonly lastUsed: number;
  /** The device's wrap counter there. */
  readonly usedWrap: boolean;
}

/** A queue as plain data. */
export type QueueState = SplitQueueState | PackedQueueState;

/**
 * The device's side of a virtqueue (virtio 1.2, 2.6), for one thread. A device that was notified does:
 *
 * ```ts
 * do {
 *   queue.setNotification(false);
 *   for (let chain = queue.pop(); chain; chain = queue.pop()) queue.push(chain, serve(chain));
 *   if (queue.needsNotification()) interrupt();
 * } while (queue.setNotification(true));
 * ```
 *
 * What the driver does wrong throws `VIRTQUEUE_BROKEN` once and leaves the queue {@link VirtQueue.broken}: nothing is
 * popped or used any more until a reset.
 */
export interface VirtQueue {
  /** Its number on the device. */
  readonly index: number;
  /** Descriptors; 0 when not configured. */
  readonly size: number;
  readonly maxSize: number;
  /** Configured, and not broken. */
  readonly ready: boolean;
  /** The driver broke the rules: the device needs a reset. */
  readonly broken: boolean;
  /** Buffers popped and not pushed. */
  readonly inFlight: number;

  /** Takes the queue into use from its first descriptor on. Throws `VIRTQUEUE_BROKEN` (`size`, `ring-address`). */
  configure(layout: QueueLayout): void;
  /** The next buffer; null if there is none. Its work is bounded by the queue's size. Throws `VIRTQUEUE_BROKEN`. */
  pop(): Chain | null;
  /** Gives back the buffer that was popped last, which is popped again next. Throws `INVALID_ARGUMENT` for another. */
  unpop(chain: Chain): void;
  /**
   * Tells the driver that a buffer is used; `written` are its writable bytes that were written, from the first on (virtio
   * 1.2, 2.7.8.2), which are marked. Does nothing more for a chain from before a reset, or if the queue is broken. Throws
   * `INVALID_ARGUMENT` for a chain that was pushed already or a length beyond its own.
   */
  push(chain: Chain, written: number): void;
  /** Like {@link VirtQueue.push}, but the driver sees it with the next one that is pushed, or by {@link VirtQueue.publishDone}. */
  complete(chain: Chain, written: number): void;
  /** Shows the driver all that was completed, at once. To be called before the device's turn ends. */
  publishDone(): void;
  /** Whether the driver wants to be interrupted for what was pushed since the last call (2.7.7, 2.8.10). */
  needsNotification(): boolean;
  /**
   * Asks the driver to notify of new buffers or, as advice, not to (2.7.10, 2.8.10). Whether there are buffers already
   * when it has been asked to: it may have made them available before it could see that, and will not notify of them.
   */
  setNotification(enabled: boolean): boolean;
  /** Whether the driver made something available, be it valid or not. */
  hasAvailable(): boolean;
  /**
   * Goes on where the kernel has left a split queue that was handed to it: pops from available index `lastAvail` on; the
   * used index is the ring's. Buffers that the kernel had and did not use are popped again. Nothing may be in flight.
   * Throws `INVALID_ARGUMENT` for a packed queue.
   */
  reposition(lastAvail: number): void;
  /** Forgets all views: to be called in each thread at the quiesce point where guest memory moves. */
  refresh(): void;
  /** Back to how it was made. Buffers in flight are the driver's again. */
  reset(): void;
  /** All that guest memory does not say, at any point between two calls. */
  save(): QueueState;
  /**
   * Takes a saved state, on memory that holds what it held at the save. Throws `VIRTQUEUE_STATE` naming the field, and
   * the queue is then as after a reset.
   */
  load(state: QueueState): void;
  /** Makes a chain again that the device had at the save. Throws `VIRTQUEUE_STATE`. */
  restoreChain(state: ChainState): Chain;
}
