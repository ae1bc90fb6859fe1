import type { Chain } from "./chain.js";
import { DESC_BYTES, DESC_F_INDIRECT, DESC_F_NEXT } from "./descriptor.js";
import type { InFlight } from "./in-flight.js";
import type { QueueState, QueueStateBase } from "./queue.js";
import { RingQueue, wide } from "./ring.js";
import { checkInteger, stateError } from "./state.js";

/** Flag of the available ring: the driver wants no interrupts (virtio 1.2, 2.7.6 and 2.7.7). */
const AVAIL_F_NO_INTERRUPT = 1;
/** Flag of the used ring: the device wants no notifications (virtio 1.2, 2.7.8 and 2.7.10). */
const USED_F_NO_NOTIFY = 1;
/** A used entry: id and length, 32 bits each. */
const USED_BYTES = 8;
/** Where the entries of either ring begin, after flags and index. */
const RING_START = 4;

/** What `next`, of 16 bits, reaches of an indirect table. */
const MAX_TABLE_WORDS = 0x1_0000 * 4;

/** The rings as this thread sees them now. What the driver may write meanwhile is read with Atomics, once. */
interface Views {
  /** Descriptors: address low and high, length, flags and next. */
  readonly desc: Uint32Array;
  /** flags, idx, ring, used_event. */
  readonly avail: Uint16Array;
  /** flags, idx, entries, avail_event. */
  readonly used: Uint16Array;
  /** The entries: id, length. */
  readonly entries: Uint32Array;
  readonly usedGpa: number;
}

/** A split virtqueue (virtio 1.2, 2.7), the device's side. */
export class SplitQueue extends RingQueue {
  #views: Views | undefined;
  #lastAvail = 0;
  /** The available index as it was read last: up to it nothing is read again. */
  #seenAvail = 0;
  #lastUsed = 0;

  protected sizeAllowed(size: number): boolean {
    return (size & (size - 1)) === 0;
  }

  protected attach(): Views {
    const { size } = this.layout;
    // The events are part of the rings with the feature only (2.7.6, 2.7.8).
    const event = this.features.eventIndex ? 2 : 0;
    const desc = this.area("desc", DESC_BYTES, DESC_BYTES * size);
    const driver = this.area("driver", 2, RING_START + 2 * size + event);
    const device = this.area("device", 4, RING_START + USED_BYTES * size + event);
    this.#views = {
      desc: wide(desc.u16),
      avail: driver.u16,
      used: device.u16,
      entries: wide(device.u16, RING_START),
      usedGpa: device.gpa,
    };
    return this.#views;
  }

  protected prepare(): void {
    if (this.#views === undefined) this.attach();
  }

  protected detach(): void {
    this.#views = undefined;
  }

  protected rewind(): void {
    this.#lastAvail = 0;
    this.#seenAvail = 0;
    this.#lastUsed = 0;
  }

  protected take(): Chain | null {
    const { desc, avail } = this.#views ?? this.attach();
    const { size } = this.layout;
    const position = this.#lastAvail;
    if (position === this.#seenAvail) {
      // Acquires what the driver wrote before (2.7.13.3).
      const idx = Atomics.load(avail, 1);
      const count = (idx - position) & 0xffff;
      if (count === 0) return null;
      if (count > size) throw this.fault("index-jump", idx, `available index ${idx} is ${count} from ${position}`);
      this.#seenAvail = idx;
    }
    const head = avail[2 + (position & (size - 1))] as number;
    this.builder.begin();
    const chain = this.enter(head, position, this.#walk(desc, head));
    this.#lastAvail = (position + 1) & 0xffff;
    return chain;
  }

  /** Collects a chain from the table; how many of its descriptors it has. Each field is read once. */
  #walk(desc: Uint32Array, head: number): number {
    const { size } = this.layout;
    let index = head;
    for (let count = 1; ; count++) {
      if (index >= size) throw this.fault("index-range", index, `descriptor ${index} of ${size}`);
      if (count > size) throw this.fault("descriptor-loop", head, `the chain of ${head} has more than ${size}`);
      const at = index * 4;
      const low = desc[at] as number;
      const high = desc[at + 1] as number;
      const length = desc[at + 2] as number;
      const word = desc[at + 3] as number;
      if ((word & DESC_F_INDIRECT) !== 0) {
        if (!this.features.indirect || (word & DESC_F_NEXT) !== 0) {
          throw this.fault("indirect", index, `descriptor ${index} may not be indirect, or not go on`);
        }
        this.#walkTable(this.builder.table(low, high, length, index), length / DESC_BYTES, count - 1);
        return count;
      }
      this.builder.add(low, high, length, word & 0xffff, index);
      if ((word & DESC_F_NEXT) === 0) return count;
      index = word >>> 16;
    }
  }

  /** Collects a chain from an indirect table (2.7.5.3), which may follow other descriptors (2.7.5.3.2). */
  #walkTable(gpa: number, entries: number, before: number): void {
    const { builder } = this;
    const limit = Math.min(entries, this.chainLimit - before);
    const table = builder.ram.words(gpa, entries * 4, MAX_TABLE_WORDS);
    const start = builder.ram.wordsStart;
    let index = 0;
    for (let count = 1; ; count++) {
      if (index >= entries) throw this.fault("index-range", index, `descriptor ${index} of an indirect ${entries}`);
      if (count > limit) throw this.fault("descriptor-loop", index, `an indirect chain has more than ${limit}`);
      const at = start + index * 4;
      const low = table[at] as number;
      const high = table[at + 1] as number;
      const length = table[at + 2] as number;
      const word = table[at + 3] as number;
      if ((word & DESC_F_INDIRECT) !== 0) throw this.fault("indirect", index, `table within a table at ${index}`);
      builder.add(low, high, length, word & 0xffff, index);
      if ((word & DESC_F_NEXT) === 0) return;
      index = word >>> 16;
    }
  }

  protected stepBack(chain: Chain): boolean {
    if (chain.position !== ((this.#lastAvail - 1) & 0xffff)) return false;
    this.#lastAvail = chain.position;
    return true;
  }

  protected publish({ readyIds, readyWritten, readyCount: count }: InFlight): number {
    const { used, entries, usedGpa } = this.#views ?? this.attach();
    const mask = this.layout.size - 1;
    const start = this.#lastUsed & mask;
    let next = this.#lastUsed;
    for (let i = 0; i < count; i++) {
      const at = (next & mask) * 2;
      entries[at] = readyIds[i] as number;
      entries[at + 1] = readyWritten[i] as number;
      next = (next + 1) & 0xffff;
    }
    this.#lastUsed = next;
    // Releases the entries (2.7.8.2), and is a full barrier before the driver's suppression is read.
    Atomics.store(used, 1, next);
    this.#markUsed(usedGpa, start, count);
    return count;
  }

  /** Marks entries and the index. */
  #markUsed(usedGpa: number, start: number, count: number): void {
    const { size } = this.layout;
    const end = RING_START + Math.min(start + count, size) * USED_BYTES;
    // One mark for both where they are about a page apart.
    if (end <= 4096) this.builder.ram.mark(usedGpa + 2, end - 2);
    else {
      const from = RING_START + start * USED_BYTES;
      this.builder.ram.mark(usedGpa + from, end - from);
      this.builder.ram.mark(usedGpa + 2, 2);
    }
    if (start + count > size) this.builder.ram.mark(usedGpa + RING_START, (start + count - size) * USED_BYTES);
  }

  protected wantsInterrupt(count: number): boolean {
    const { avail } = this.#views ?? this.attach();
    if (!this.features.eventIndex) return (Atomics.load(avail, 0) & AVAIL_F_NO_INTERRUPT) === 0;
    // The entry that the driver waits for was among the last (2.7.7.2).
    const event = Atomics.load(avail, 2 + this.layout.size);
    return ((this.#lastUsed - event - 1) & 0xffff) < count;
  }

  protected writeSuppression(enabled: boolean): void {
    const { used, usedGpa } = this.#views ?? this.attach();
    const { size } = this.layout;
    // A full barrier before the available index is read again.
    if (!this.features.eventIndex) {
      Atomics.store(used, 0, enabled ? 0 : USED_F_NO_NOTIFY);
      this.builder.ram.mark(usedGpa, 2);
    } else if (enabled) {
      // flags stay 0 (2.7.10.2); an event that has passed suppresses.
      Atomics.store(used, 2 + 4 * size, this.#lastAvail);
      this.builder.ram.mark(usedGpa + RING_START + USED_BYTES * size, 2);
    }
  }

  protected availableNow(): boolean {
    const { avail } = this.#views ?? this.attach();
    return Atomics.load(avail, 1) !== this.#lastAvail;
  }

  protected adopt(lastAvail: number): void {
    const { used } = this.#views ?? this.attach();
    const lastUsed = Atomics.load(used, 1);
    const unused = (lastAvail - lastUsed) & 0xffff;
    if (unused > this.layout.size)
      throw this.fault("index-jump", lastUsed, `used index ${lastUsed}, popped ${lastAvail}`);
    this.#lastUsed = lastUsed;
    this.#lastAvail = lastUsed;
    this.#seenAvail = lastUsed;
  }

  protected saveRing(base: QueueStateBase): QueueState {
    return { ...base, kind: "split", lastAvail: this.#lastAvail, lastUsed: this.#lastUsed };
  }

  protected loadRing(state: QueueState): void {
    if (state.kind !== "split") throw stateError(this.index, "kind", `must be split, not ${state.kind}`);
    const { lastAvail, lastUsed } = state;
    checkInteger(this.index, "lastAvail", lastAvail, 0, 0xffff);
    checkInteger(this.index, "lastUsed", lastUsed, 0, 0xffff);
    if (((lastAvail - lastUsed) & 0xffff) !== this.inFlight) {
      throw stateError(this.index, "lastUsed", `${lastUsed} is not ${this.inFlight} in flight behind ${lastAvail}`);
    }
    this.#lastAvail = lastAvail;
    this.#seenAvail = lastAvail;
    this.#lastUsed = lastUsed;
  }
}
