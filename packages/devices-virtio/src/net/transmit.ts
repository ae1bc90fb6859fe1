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
import {
  BYTE_BUDGET,
  ETHERNET_BYTES,
  MAX_PACKET_BYTES,
  NET_HEADER_BYTES,
  PACKET_BUDGET,
  PUBLISH_EVERY,
} from "./packet.js";
import type { DirectionCounter } from "./statistics.js";

/** How an attempt to send ended. */
type Outcome = "done" | "wait" | "lost";

/** What a sender stands between. */
export interface TransmitterOptions {
  readonly context: VirtioDeviceContext;
  readonly fd: number;
  readonly limit: RateLimit;
  readonly counter: DirectionCounter;
  /** The host takes no more for now: has `notify` called again when it does. */
  readonly onFull: () => void;
  /** The descriptor has failed for good, by this errno. */
  readonly onLost: (errno: number) => void;
}

/**
 * Sends what the guest transmits (virtio 1.2, 5.1.6.2), each packet by one `writev` from where it lies. A tap checks the
 * header itself, against the frame: what it refuses is dropped, as is everything while the link is down.
 */
export class Transmitter {
  active = false;
  readonly #options: TransmitterOptions;
  readonly #vector = new IoVector();
  /** For a packet in more pieces than one call takes. */
  #whole: Uint8Array | undefined;

  constructor(options: TransmitterOptions) {
    this.#options = options;
  }

  /** As `VirtioDevice.notify`. */
  notify(queue: VirtQueue): boolean {
    const { context, counter } = this.#options;
    let bytes = 0;
    let all = false;
    let waits = false;
    for (let budget = PACKET_BUDGET; budget > 0 && bytes < BYTE_BUDGET; budget--) {
      if (budget % PUBLISH_EVERY === 0) queue.publishDone();
      const chain = queue.pop();
      if (chain === null) {
        all = true;
        break;
      }
      const length = chain.readableLength;
      const sound = length >= NET_HEADER_BYTES + ETHERNET_BYTES && length <= MAX_PACKET_BYTES;
      if (!this.active || !sound) counter.dropped++;
      else {
        const outcome = this.#send(chain, length);
        if (outcome === "wait") {
          queue.unpop(chain);
          waits = true;
          break;
        }
      }
      bytes += length;
      queue.complete(chain, 0);
    }
    queue.publishDone();
    if (queue.needsNotification()) context.interrupt(queue.index);
    if (!all && !waits) context.again(queue.index);
    return all;
  }

  #send(chain: Chain, length: number): Outcome {
    const { fd, limit, counter, onFull, onLost } = this.#options;
    if (!limit.take(length - NET_HEADER_BYTES)) return "wait";
    const vector = this.#vector;
    vector.clear();
    if (chain.gatherReadable(vector) < length) this.#flatten(chain, length);
    for (;;) {
      const result = tryWritev(fd, vector.words, vector.count);
      if (result >= 0) {
        counter.packets++;
        counter.bytes += length - NET_HEADER_BYTES;
        return "done";
      }
      if (result === -EINTR) continue;
      if (result === -EAGAIN) {
        onFull();
        return "wait";
      }
      counter.dropped++;
      if (!isLost(-result)) return "done";
      onLost(-result);
      return "lost";
    }
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
