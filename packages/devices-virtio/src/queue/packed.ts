import { BatonError } from "@baton/linux";
import type { Chain } from "./chain.js";
import { DESC_BYTES, DESC_F_AVAIL, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_USED, DESC_F_WRITE } from "./descriptor.js";
import type { InFlight } from "./in-flight.js";
import type { QueueState, QueueStateBase } from "./queue.js";
import { RingQueue, wide } from "./ring.js";
import { checkInteger, checkType, stateError } from "./state.js";

/** Event suppression: notify always, never, or at a place (virtio 1.2, 2.8.10). */
const EVENT_ENABLE = 0;
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;
/** Event suppression: 16 bits of place and wrap counter, 16 bits of flags (virtio 1.2, 2.8.14). */
const EVENT_BYTES = 4;

/** The areas as this thread sees them now. What the driver may write meanwhile is read with Atomics, once. */
interface Views {
  /** Descriptors: address low and high, length, id and flags. */
  readonly ring: Uint32Array;
  readonly ringGpa: number;
  /** The driver's event suppression. */
  readonly driver: Uint32Array;
  /** The device's. */
  readonly device: Uint32Array;
  readonly deviceGpa: number;
}

/** A packed virtqueue (virtio 1.2, 2.8), the device's side. Wrap counters are kept as 1 and 0. */
export class PackedQueue extends RingQueue {
  #views: Views | undefined;
  #lastAvail = 0;
  #availWrap = 1;
  #lastUsed = 0;
  #usedWrap = 1;

  protected sizeAllowed(): boolean {
    return true;
  }

  protected attach(): Views {
    const ring = this.area("desc", DESC_BYTES, DESC_BYTES * this.layout.size);
    const driver = this.area("driver", 4, EVENT_BYTES);
    const device = this.area("device", 4, EVENT_BYTES);
    this.#views = {
      ring: wide(ring.u16),
      ringGpa: ring.gpa,
      driver: wide(driver.u16),
      device: wide(device.u16),
      deviceGpa: device.gpa,
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
    this.#availWrap = 1;
    this.#lastUsed = 0;
    this.#usedWrap = 1;
  }

  /** Id and flags of the next descriptor if it is available (2.8.1); else -1. Acquires what the driver wrote before. */
  #head(ring: Uint32Array): number {
    const word = Atomics.load(ring, this.#lastAvail * 4 + 3);
    const avail = (word >>> 23) & 1;
    const used = word >>> 31;
    return avail === this.#availWrap && used !== avail ? word : -1;
  }

  protected take(): Chain | null {
    const { ring } = this.#views ?? this.attach();
    let word = this.#head(ring);
    if (word === -1) return null;
    const { size } = this.layout;
    const position = this.#lastAvail;
    this.builder.begin();
    let at = position;
    for (let count = 1; ; count++) {
      if (count > size) throw this.fault("descriptor-loop", position, `the chain at ${position} has more than ${size}`);
      const low = ring[at * 4] as number;
      const high = ring[at * 4 + 1] as number;
      const length = ring[at * 4 + 2] as number;
      const flags = word >>> 16;
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if (!this.features.indirect || (flags & DESC_F_NEXT) !== 0 || count > 1) {
          throw this.fault("indirect", at, `descriptor ${at} may not be indirect, or not be in a list`);
        }
        this.#walkTable(this.builder.table(low, high, length, at), length / DESC_BYTES);
      } else this.builder.add(low, high, length, flags, at);
      if ((flags & DESC_F_NEXT) === 0) {
        // The id stands in the last of a list (2.8.6).
        const chain = this.enter(word & 0xffff, position, count);
        this.#move(count);
        return chain;
      }
      at = at + 1 === size ? 0 : at + 1;
      word = ring[at * 4 + 3] as number;
    }
  }

  /** Collects all descriptors of an indirect table (2.8.7); of their flags only the writable one has a meaning (2.8.19). */
  #walkTable(gpa: number, entries: number): void {
    const { builder } = this;
    const limit = this.chainLimit;
    if (entries > limit) throw this.fault("descriptor-loop", entries, `an indirect table has more than ${limit}`);
    const table = builder.ram.words(gpa, entries * 4);
    const start = builder.ram.wordsStart;
    for (let index = 0; index < entries; index++) {
      const at = start + index * 4;
      const low = table[at] as number;
      const high = table[at + 1] as number;
      const length = table[at + 2] as number;
      const flags = (table[at + 3] as number) >>> 16;
      if ((flags & DESC_F_INDIRECT) !== 0) throw this.fault("indirect", index, `table within a table at ${index}`);
      builder.add(low, high, length, flags, index);
    }
  }

  /** Moves the place of the next pop, by less than the size or all of it, either way. */
  #move(count: number): void {
    const { size } = this.layout;
    this.#lastAvail += count;
    if (this.#lastAvail >= size) this.#lastAvail -= size;
    else if (this.#lastAvail < 0) this.#lastAvail += size;
    else return;
    this.#availWrap ^= 1;
  }

  protected stepBack(chain: Chain): boolean {
    const { size } = this.layout;
    if ((chain.position + chain.descriptors) % size !== this.#lastAvail) return false;
    this.#move(-chain.descriptors);
    return true;
  }

  protected publish({ readyIds, readyWritten, readyDescriptors, readyCount: count }: InFlight): number {
    const { ring, ringGpa } = this.#views ?? this.attach();
    const { size } = this.layout;
    const first = this.#lastUsed;
    let firstWord = 0;
    let total = 0;
    for (let i = 0; i < count; i++) {
      const written = readyWritten[i] as number;
      const descriptors = readyDescriptors[i] as number;
      const at = this.#lastUsed * 4;
      const flags = (this.#usedWrap === 1 ? DESC_F_AVAIL | DESC_F_USED : 0) | (written > 0 ? DESC_F_WRITE : 0);
      const word = ((flags << 16) | (readyIds[i] as number)) >>> 0;
      ring[at + 2] = written;
      if (i === 0) firstWord = word;
      else Atomics.store(ring, at + 3, word);
      total += descriptors;
      this.#lastUsed += descriptors;
      if (this.#lastUsed >= size) {
        this.#lastUsed -= size;
        this.#usedWrap ^= 1;
      }
    }
    // The driver looks at the first one first: it releases all (2.8.2), and is a full barrier before what is read next.
    Atomics.store(ring, first * 4 + 3, firstWord);
    const end = Math.min(first + total, size);
    this.builder.ram.mark(ringGpa + first * DESC_BYTES, (end - first) * DESC_BYTES);
    if (first + total > size) this.builder.ram.mark(ringGpa, (first + total - size) * DESC_BYTES);
    return total;
  }

  protected wantsInterrupt(count: number): boolean {
    const { driver } = this.#views ?? this.attach();
    const { size } = this.layout;
    const word = Atomics.load(driver, 0);
    const flags = (word >>> 16) & 3;
    if (flags === EVENT_DISABLE) return false;
    const place = word & 0x7fff;
    if (flags !== EVENT_DESC || !this.features.eventIndex || place >= size) return true;
    // The descriptor that the driver waits for was among the last, counted over two laps.
    const event = place + ((word & 0x8000) !== 0 ? 0 : size);
    const next = this.#lastUsed + (this.#usedWrap === 1 ? 0 : size);
    return (next - event - 1 + 2 * size) % (2 * size) < count;
  }

  protected writeSuppression(enabled: boolean): void {
    const { device, deviceGpa } = this.#views ?? this.attach();
    let flags = EVENT_DISABLE;
    if (enabled) flags = this.features.eventIndex ? EVENT_DESC : EVENT_ENABLE;
    const place = flags === EVENT_DESC ? this.#lastAvail | (this.#availWrap << 15) : 0;
    // A full barrier before the next descriptor is looked at again.
    Atomics.store(device, 0, (flags << 16) | place);
    this.builder.ram.mark(deviceGpa, EVENT_BYTES);
  }

  protected availableNow(): boolean {
    const { ring } = this.#views ?? this.attach();
    return this.#head(ring) !== -1;
  }

  protected adopt(): void {
    throw new BatonError("INVALID_ARGUMENT", `queue ${this.index}: a packed ring cannot be taken over`);
  }

  protected saveRing(base: QueueStateBase): QueueState {
    return {
      ...base,
      kind: "packed",
      lastAvail: this.#lastAvail,
      availWrap: this.#availWrap === 1,
      lastUsed: this.#lastUsed,
      usedWrap: this.#usedWrap === 1,
    };
  }

  protected loadRing(state: QueueState): void {
    if (state.kind !== "packed") throw stateError(this.index, "kind", `must be packed, not ${state.kind}`);
    const { lastAvail, availWrap, lastUsed, usedWrap, size } = state;
    checkInteger(this.index, "lastAvail", lastAvail, 0, size - 1);
    checkInteger(this.index, "lastUsed", lastUsed, 0, size - 1);
    checkType(this.index, "availWrap", availWrap, "boolean");
    checkType(this.index, "usedWrap", usedWrap, "boolean");
    const behind = lastAvail - lastUsed + (availWrap === usedWrap ? 0 : size);
    if (behind !== this.flying.descriptors) {
      throw stateError(this.index, "lastUsed", `${lastUsed} does not fit ${lastAvail} and what is in flight`);
    }
    this.#lastAvail = lastAvail;
    this.#availWrap = availWrap ? 1 : 0;
    this.#lastUsed = lastUsed;
    this.#usedWrap = usedWrap ? 1 : 0;
  }
}
