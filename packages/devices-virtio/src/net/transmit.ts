import {
  addressOf,
  EAGAIN,
  EBADF,
  EBADFD,
  ECONNREFUSED,
  ECONNRESET,
  EINTR,
  EPIPE,
  IoVector,
  tryWritev,
} from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import type { RateLimit } from "../device/rate-limit.js";
import type { Chain } from "../queue/chain.js";
import type { VirtQueue } from "../queue/queue.js";
import { BATCH_FRAMES, type FrameRing } from "./frame-ring.js";
import {
  BYTE_BUDGET,
  ETHERNET_BYTES,
  MAX_PACKET_BYTES,
  NET_HEADER_BYTES,
  PACKET_BUDGET,
  PUBLISH_BYTES,
  PUBLISH_PACKETS,
} from "./packet.js";
import type { DirectionCounter } from "./statistics.js";

/** What a sender stands between. */
export interface TransmitterOptions {
  readonly context: VirtioDeviceContext;
  readonly fd: number;
  /** Takes batches; without it each packet goes by itself. */
  readonly ring: FrameRing | undefined;
  readonly limit: RateLimit;
  readonly counter: DirectionCounter;
  /** The host takes no more for now: has `notify` called again when it does. */
  readonly onFull: () => void;
  /** The descriptor has failed for good, by this errno. */
  readonly onLost: (errno: number) => void;
}

/**
 * Sends what the guest transmits (virtio 1.2, 5.1.6.2) from where it lies: each packet by one `writev`, or a batch of them
 * through a ring. A tap checks the header itself, against the frame: what it refuses is dropped, as is everything while
 * the link is down.
 */
export class Transmitter {
  active = false;
  readonly #options: TransmitterOptions;
  /** The packets of the next batch. */
  readonly #batch = new Array<Chain | undefined>(BATCH_FRAMES).fill(undefined);
  #batched = 0;
  readonly #vector = new IoVector();
  /** For a packet in more pieces than one call takes. */
  #whole: Uint8Array | undefined;

  constructor(options: TransmitterOptions) {
    this.#options = options;
  }

  /** As `VirtioDevice.notify`. */
  notify(queue: VirtQueue): boolean {
    const { context } = this.#options;
    // A queue that broke has left some.
    this.#forgetBatch();
    const taken = this.#take(queue);
    const sent = this.#sendBatch(queue);
    queue.publishDone();
    if (queue.needsNotification()) context.interrupt(queue.index);
    if (taken === "budget" && sent) context.again(queue.index);
    return taken === "all" && sent;
  }

  /** Takes packets and sends them, but for a last batch: how far it came. */
  #take(queue: VirtQueue): "all" | "budget" | "waits" {
    const { counter, limit } = this.#options;
    let bytes = 0;
    let shown = 0;
    for (let budget = PACKET_BUDGET; budget > 0 && bytes < BYTE_BUDGET; budget--) {
      if (budget % PUBLISH_PACKETS === 0 || bytes - shown >= PUBLISH_BYTES) {
        queue.publishDone();
        shown = bytes;
      }
      const chain = queue.pop();
      if (chain === null) return "all";
      const length = chain.readableLength;
      bytes += length;
      const sound = length >= NET_HEADER_BYTES + ETHERNET_BYTES && length <= MAX_PACKET_BYTES;
      if (!this.active || !sound) {
        counter.dropped++;
        queue.complete(chain, 0);
      } else if (!limit.take(length - NET_HEADER_BYTES)) {
        queue.unpop(chain);
        return "waits";
      } else if (!this.#send(queue, chain, length)) return "waits";
    }
    return "budget";
  }

  /** Sends a packet, now or with the batch; false if it has to wait, and is back in the queue. */
  #send(queue: VirtQueue, chain: Chain, length: number): boolean {
    if (this.#addToBatch(chain, length)) return this.#batched < BATCH_FRAMES || this.#sendBatch(queue);
    if (!this.#sendBatch(queue, chain)) return false;
    const vector = this.#vector;
    vector.clear();
    if (chain.gatherReadable(vector) < length) this.#flatten(chain, length);
    const result = this.#write(vector);
    if (result === -EAGAIN) {
      queue.unpop(chain);
      this.#options.onFull();
      return false;
    }
    this.#account(result);
    queue.complete(chain, 0);
    return true;
  }

  /** False, and nothing is added, without a ring and for a packet that is long or has more pieces than it takes. */
  #addToBatch(chain: Chain, length: number): boolean {
    const vector = this.#options.ring?.vector(this.#batched);
    if (vector === undefined || length >= PUBLISH_BYTES) return false;
    vector.clear();
    if (chain.gatherReadable(vector) < length) return false;
    this.#batch[this.#batched++] = chain;
    return true;
  }

  /** Sends the batch; false if some of it has to wait, which is back in the queue with `next`, that was popped after it. */
  #sendBatch(queue: VirtQueue, next?: Chain): boolean {
    const { ring, onFull } = this.#options;
    const count = this.#batched;
    if (ring === undefined || count === 0) return true;
    const { results } = ring;
    ring.send(count);
    let end = count;
    while (end > 0 && results[end - 1] === -EAGAIN) end--;
    for (let i = 0; i < end; i++) {
      const result = results[i] as number;
      // What did not go in its turn goes behind the others, or not at all.
      this.#account(result === -EAGAIN || result === -EINTR ? this.#write(ring.vector(i)) : result);
      queue.complete(this.#batch[i] as Chain, 0);
    }
    if (end < count) {
      if (next !== undefined) queue.unpop(next);
      for (let i = count - 1; i >= end; i--) queue.unpop(this.#batch[i] as Chain);
      onFull();
    }
    this.#forgetBatch();
    return end === count;
  }

  #forgetBatch(): void {
    this.#batch.fill(undefined, 0, this.#batched);
    this.#batched = 0;
  }

  #write(vector: IoVector): number {
    for (;;) {
      const result = tryWritev(this.#options.fd, vector.words, vector.count);
      if (result !== -EINTR) return result;
    }
  }

  /** Counts a packet by what became of it. */
  #account(result: number): void {
    const { counter, onLost } = this.#options;
    if (result >= 0) {
      counter.packets++;
      counter.bytes += result - NET_HEADER_BYTES;
      return;
    }
    counter.dropped++;
    if (isLost(-result)) onLost(-result);
  }

  /** Puts a packet of too many pieces into one. */
  #flatten(chain: Chain, length: number): void {
    this.#whole ??= new Uint8Array(MAX_PACKET_BYTES);
    chain.read(this.#whole.subarray(0, length));
    this.#vector.clear();
    this.#vector.add(Number(addressOf(this.#whole)), length);
  }
}

/** Whether an error means that the descriptor leads nowhere any more. An interface that is down gives EIO, and may come up. */
export function isLost(errno: number): boolean {
  return errno === EBADFD || errno === EBADF || errno === EPIPE || errno === ECONNRESET || errno === ECONNREFUSED;
}
