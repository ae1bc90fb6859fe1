import { addressOf, EAGAIN, EINTR, ENODATA, tryReadv } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import type { RateLimit } from "../device/rate-limit.js";
import type { VirtQueue } from "../queue/queue.js";
import { BATCH_FRAMES, type FrameRing } from "./frame-ring.js";
import {
  BYTE_BUDGET,
  MAX_PACKET_BYTES,
  NET_HEADER_BYTES,
  PACKET_BUDGET,
  PUBLISH_BYTES,
  PUBLISH_PACKETS,
} from "./packet.js";
import { ReceiveBuffers } from "./receive-buffers.js";
import type { DirectionCounter } from "./statistics.js";

/** What a receiver stands between. */
export interface ReceiverOptions {
  readonly context: VirtioDeviceContext;
  readonly fd: number;
  /** Takes batches; without it each packet comes by itself. */
  readonly ring: FrameRing | undefined;
  readonly limit: RateLimit;
  readonly counter: DirectionCounter;
  /** Whether to call {@link Receiver.serve} when there is a packet. */
  readonly watch: (wanted: boolean) => void;
  /** The descriptor has failed for good, by this errno. */
  readonly onLost: (errno: number) => void;
}

/** How an attempt ended: there may be more, there is none for now, or it waits for something else than the descriptor. */
type Outcome = "more" | "none" | "waits";

/** What may come beyond the guest's buffers: the longest packet. */
const SPILL_BYTES = MAX_PACKET_BYTES;
const SPILL_LENGTH = BigInt(SPILL_BYTES);

/**
 * Receives for the guest (virtio 1.2, 5.1.6.3), each packet by one `readv` to where it shall lie. The guest's buffers
 * are taken ahead of the packets and kept; a last piece of the call, of memory that is not the guest's, catches what
 * is longer than they are. Such a packet gets more buffers, and waits for them where there are none.
 *
 * Where packets come quickly and each fits into one buffer, they are received in batches, each into a buffer and a spill
 * of its own.
 */
export class Receiver {
  /** Packets that wait for buffers, with their headers; nothing is read meanwhile. */
  pending: readonly Uint8Array[] = [];
  readonly #options: ReceiverOptions;
  readonly #buffers = new ReceiveBuffers();
  /** For each packet of a batch; the first is that of a packet by itself. The pages of the others are hardly ever met. */
  readonly #spills: Uint8Array;
  readonly #spillAddress: bigint;
  readonly #spillAt: number;
  #queue: VirtQueue | undefined;
  #mergeable = false;
  #expected = 0;
  #active = false;
  /** Whether the driver has been asked to notify of buffers. */
  #asked = true;
  /** How many packets to ask for at once: as many as came lately, and more. */
  #batch = 1;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#spills = new Uint8Array(SPILL_BYTES * (options.ring === undefined ? 1 : BATCH_FRAMES));
    this.#spillAddress = addressOf(this.#spills);
    this.#spillAt = Number(this.#spillAddress);
  }

  /** Takes a queue into use; `expected` is the longest packet to have room for, in bytes with the header. */
  start(queue: VirtQueue, mergeable: boolean, expected: number, active: boolean): void {
    this.#queue = queue;
    this.#mergeable = mergeable;
    this.#expected = expected;
    this.#active = active;
    this.#asked = true;
    this.#batch = 1;
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
    this.pending = [];
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
    const { limit, ring, counter } = this.#options;
    let budget = PACKET_BUDGET;
    const end = counter.bytes + BYTE_BUDGET;
    let shown = counter.bytes;
    while (budget > 0 && counter.bytes < end) {
      if (!this.#deliverPending(queue)) return false;
      if (!limit.ready()) return false;
      const before = this.#batch;
      const outcome = ring !== undefined && before > 1 ? this.#receiveBatch(queue, ring) : this.#receiveOne(queue);
      if (outcome !== "more") return outcome === "none";
      budget -= before;
      if (budget % PUBLISH_PACKETS === 0 || counter.bytes - shown >= PUBLISH_BYTES) {
        queue.publishDone();
        shown = counter.bytes;
      }
    }
    return true;
  }

  #receiveOne(queue: VirtQueue): Outcome {
    const { fd, limit, counter } = this.#options;
    const buffers = this.#buffers;
    if (!this.#fill(queue)) return "waits";
    const { words, count, capacity, byteLength } = buffers.vector;
    const spills = count < capacity;
    if (spills) {
      words[2 * count] = this.#spillAddress;
      words[2 * count + 1] = SPILL_LENGTH;
    }
    const length = tryReadv(fd, words, spills ? count + 1 : count);
    if (length <= 0) return this.#failed(length);
    limit.count(length);
    if (length < NET_HEADER_BYTES || (!spills && length === byteLength)) this.#drop(counter);
    else if (length <= byteLength) this.#deliver(length);
    else this.#deliverSpilled(length);
    return "more";
  }

  #receiveBatch(queue: VirtQueue, ring: FrameRing): Outcome {
    const { limit, counter } = this.#options;
    const buffers = this.#buffers;
    const count = buffers.takeEach(this.#batch, ring);
    for (let i = 0; i < count; i++) ring.vector(i).add(this.#spillAt + i * SPILL_BYTES, SPILL_BYTES);
    if (count > 0) ring.receive(count);
    const { results } = ring;
    let good = 0;
    for (; good < count; good++) {
      const length = results[good] as number;
      if (length < NET_HEADER_BYTES || length > buffers.roomOf(good)) break;
      limit.count(length);
      counter.bytes += length - NET_HEADER_BYTES;
    }
    counter.packets += good;
    buffers.useEach(good, results);
    queue.publishDone();
    this.#batch = Math.max(1, Math.min(good === count ? 2 * good : good, BATCH_FRAMES));
    return good === count ? "more" : this.#afterBatch(good, results.subarray(good, count));
  }

  /** A batch did not come as a whole: packets behind the first that is missing, or too long, wait until it was dealt with. */
  #afterBatch(good: number, results: Int32Array): Outcome {
    const { counter } = this.#options;
    let outcome: Outcome = "more";
    const pending: Uint8Array[] = [];
    for (const [i, result] of results.entries()) {
      if (result > 0) {
        const packet = this.#takeOut(i, good + i, result);
        if (result >= NET_HEADER_BYTES) pending.push(packet);
        else counter.dropped++;
      } else if (outcome === "more") outcome = this.#failed(result);
    }
    this.pending = pending;
    return pending.length > 0 && outcome === "none" ? "more" : outcome;
  }

  /** A packet of a batch, from its buffer and its spill. */
  #takeOut(index: number, place: number, length: number): Uint8Array {
    const packet = new Uint8Array(length);
    const head = Math.min(length, this.#buffers.roomOf(index));
    this.#buffers.readOf(index, packet.subarray(0, head));
    const spill = place * SPILL_BYTES;
    packet.set(this.#spills.subarray(spill, spill + length - head), head);
    this.#options.limit.count(length);
    return packet;
  }

  #failed(result: number): Outcome {
    this.#batch = 1;
    if (result === -EAGAIN) return "none";
    if (result === -EINTR) return "more";
    this.#options.onLost(result === 0 ? ENODATA : -result);
    return "waits";
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
    const alone = this.#buffers.use(length) === 1;
    this.#batch = alone ? Math.min(2 * this.#batch, BATCH_FRAMES) : 1;
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
      buffers.write(this.#spills.subarray(0, length - head), head);
      this.#deliver(length);
      return;
    }
    const packet = new Uint8Array(length);
    buffers.read(packet.subarray(0, head));
    packet.set(this.#spills.subarray(0, length - head), head);
    buffers.markAll();
    this.pending = [packet];
  }

  /** Delivers the packets that wait; false while buffers are missing. */
  #deliverPending(queue: VirtQueue): boolean {
    for (let first = this.pending[0]; first !== undefined; first = this.pending[0]) {
      if (!this.#deliverCopy(queue, first)) return false;
      this.pending = this.pending.slice(1);
    }
    return true;
  }

  /** Copies a packet to its buffers; false while these are missing. One that no ring of this size holds is dropped. */
  #deliverCopy(queue: VirtQueue, packet: Uint8Array): boolean {
    const buffers = this.#buffers;
    do {
      buffers.take(packet.length, this.#mergeable);
      if (buffers.room >= packet.length) {
        buffers.write(packet, 0);
        this.#deliver(packet.length);
        return true;
      }
      if ((!this.#mergeable && buffers.room > 0) || buffers.full || buffers.descriptors >= queue.size) {
        this.#drop(this.#options.counter);
        return true;
      }
    } while (this.#ask(queue));
    return false;
  }
}
