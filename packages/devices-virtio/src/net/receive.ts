import { addressOf, EAGAIN, EINTR, ENODATA, IoVector, tryReadv } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import type { RateLimit } from "../device/rate-limit.js";
import type { VirtQueue } from "../queue/queue.js";
import { BYTE_BUDGET, MAX_PACKET_BYTES, NET_HEADER_BYTES, PACKET_BUDGET, PUBLISH_EVERY } from "./packet.js";
import { ReceiveBuffers } from "./receive-buffers.js";
import type { DirectionCounter } from "./statistics.js";

/** What a receiver stands between. */
export interface ReceiverOptions {
  readonly context: VirtioDeviceContext;
  readonly fd: number;
  readonly limit: RateLimit;
  readonly counter: DirectionCounter;
  /** Whether to call {@link Receiver.serve} when there is a packet. */
  readonly watch: (wanted: boolean) => void;
  /** The descriptor has failed for good, by this errno. */
  readonly onLost: (errno: number) => void;
}

/** What may come beyond the guest's buffers: the longest packet. */
const SPILL_BYTES = MAX_PACKET_BYTES;
const SPILL_LENGTH = BigInt(SPILL_BYTES);

/**
 * Receives for the guest (virtio 1.2, 5.1.6.3), each packet by one `readv` to where it shall lie. The guest's buffers
 * are taken ahead of the packets and kept; a last piece of the call, of memory that is not the guest's, catches what
 * is longer than they are. Such a packet gets more buffers, and waits for them where there are none.
 */
export class Receiver {
  /** A packet that waits for buffers, with its header; nothing is read meanwhile. */
  pending: Uint8Array | null = null;
  readonly #options: ReceiverOptions;
  readonly #vector = new IoVector();
  readonly #buffers: ReceiveBuffers;
  readonly #spill = new Uint8Array(SPILL_BYTES);
  readonly #spillAddress = addressOf(this.#spill);
  #queue: VirtQueue | undefined;
  #mergeable = false;
  #expected = 0;
  #active = false;
  /** Whether the driver has been asked to notify of buffers. */
  #asked = true;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#buffers = new ReceiveBuffers(this.#vector, options.context.memory);
  }

  /** Takes a queue into use; `expected` is the longest packet to have room for, in bytes with the header. */
  start(queue: VirtQueue, mergeable: boolean, expected: number, active: boolean): void {
    this.#queue = queue;
    this.#mergeable = mergeable;
    this.#expected = expected;
    this.#active = active;
    this.#asked = true;
    this.#buffers.reset(queue);
  }

  setExpected(bytes: number): void {
    this.#expected = bytes;
  }

  setActive(active: boolean): void {
    this.#active = active;
    if (active) this.serve();
    else this.#options.watch(false);
  }

  /** Gives the buffers back to the queue. */
  stop(): void {
    this.#options.watch(false);
    this.#buffers.giveBack();
    this.#queue = undefined;
  }

  /** Forgets the queue, which has been reset. */
  reset(): void {
    this.#options.watch(false);
    this.#buffers.forget();
    this.#queue = undefined;
    this.pending = null;
  }

  /** Receives what there is, up to the budget: the descriptor is level-triggered and calls again. */
  serve(): void {
    const queue = this.#queue;
    if (queue === undefined || !this.#active) return;
    try {
      this.#options.watch(this.#receive(queue));
    } finally {
      queue.publishDone();
    }
    if (queue.needsNotification()) this.#options.context.interrupt(queue.index);
  }

  /** Whether the descriptor is what it waits for next. */
  #receive(queue: VirtQueue): boolean {
    const { fd, limit, counter, onLost } = this.#options;
    const vector = this.#vector;
    const { words } = vector;
    let bytes = 0;
    for (let budget = PACKET_BUDGET; budget > 0 && bytes < BYTE_BUDGET; ) {
      if (this.pending !== null && !this.#deliverPending(queue, this.pending)) return false;
      if (!this.#fill(queue)) return false;
      if (!limit.ready()) return false;
      const { count } = vector;
      const spills = count < vector.capacity;
      if (spills) {
        words[2 * count] = this.#spillAddress;
        words[2 * count + 1] = SPILL_LENGTH;
      }
      const length = tryReadv(fd, words, spills ? count + 1 : count);
      if (length === -EAGAIN) return true;
      if (length === -EINTR) continue;
      if (length <= 0) {
        onLost(length === 0 ? ENODATA : -length);
        return false;
      }
      if (--budget % PUBLISH_EVERY === 0) queue.publishDone();
      bytes += length;
      limit.count(length);
      if (length < NET_HEADER_BYTES || (!spills && length === vector.byteLength)) this.#drop(counter);
      else if (length <= vector.byteLength) this.#deliver(length);
      else this.#deliverSpilled(length);
    }
    return true;
  }

  /** Takes buffers for the longest packet, or as many as there are; false, and the guest will tell, where there are none. */
  #fill(queue: VirtQueue): boolean {
    const buffers = this.#buffers;
    do {
      buffers.take(this.#expected, this.#mergeable);
      if (buffers.room > 0) {
        if (this.#asked) queue.setNotification(false);
        this.#asked = false;
        return true;
      }
    } while (this.#ask(queue));
    return false;
  }

  /** Has the driver notify of buffers; whether there are some already. */
  #ask(queue: VirtQueue): boolean {
    this.#asked = true;
    return queue.setNotification(true);
  }

  #deliver(length: number): void {
    const { counter } = this.#options;
    counter.packets++;
    counter.bytes += length - NET_HEADER_BYTES;
    this.#buffers.use(length);
  }

  #drop(counter: DirectionCounter): void {
    counter.dropped++;
    this.#buffers.markAll();
  }

  /** A packet is longer than the buffers that were taken: its end stands in the spill. */
  #deliverSpilled(length: number): void {
    const buffers = this.#buffers;
    const head = buffers.room;
    if (!this.#mergeable) {
      this.#drop(this.#options.counter);
      return;
    }
    buffers.take(length, true);
    if (buffers.room >= length) {
      buffers.write(this.#spill.subarray(0, length - head), head);
      this.#deliver(length);
      return;
    }
    const packet = new Uint8Array(length);
    buffers.read(packet.subarray(0, head));
    packet.set(this.#spill.subarray(0, length - head), head);
    buffers.markAll();
    this.pending = packet;
  }

  /** Delivers the packet that waits; false while its buffers are missing. One that no ring of this size holds is dropped. */
  #deliverPending(queue: VirtQueue, packet: Uint8Array): boolean {
    const buffers = this.#buffers;
    do {
      buffers.take(packet.length, this.#mergeable);
      const fits = buffers.room >= packet.length;
      if (fits) {
        buffers.write(packet, 0);
        this.#deliver(packet.length);
      } else if (!this.#mergeable || buffers.full || buffers.descriptors >= queue.size) {
        this.#drop(this.#options.counter);
      } else continue;
      this.pending = null;
      return true;
    } while (this.#ask(queue));
    return false;
  }
}
