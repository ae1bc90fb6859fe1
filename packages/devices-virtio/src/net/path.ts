import type { VirtQueue } from "../queue/queue.js";

/** What a path is given when its pair of queues is in use. */
export interface PathStart {
  readonly receive: VirtQueue;
  readonly transmit: VirtQueue;
  /** The negotiated feature bits. */
  readonly features: bigint;
  /** Bytes of the longest packet to be expected, with its header. */
  readonly expected: number;
  /** Whether packets flow: the link is up, and the guest uses the pair. */
  readonly active: boolean;
}

/** What moves the packets between one pair of queues and the host. A descriptor that fails for good is reported once. */
export interface PacketPath {
  /** Begins, or goes on after `stop`. */
  start(start: PathStart): void;
  /** As `VirtioDevice.notify`. */
  notify(queue: VirtQueue): boolean;
  /** The link goes up or down, or the pair comes into use or out of it. */
  setActive(active: boolean): void;
  /** The longest packet to be expected has changed. */
  setExpected(bytes: number): void;
  /** Goes on where a rate limit has ended. */
  goOn(): void;
  /** Ends it: nothing happens any more, and every buffer is back in its queue. */
  stop(): void;
  /** Forgets the queues, which have been reset. */
  reset(): void;
  /** Packets that have left the host's queue and have no room in the guest yet, with their headers; for a state. */
  pending: readonly Uint8Array[];
  close(): void;
}
