import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { Chain, ChainState } from "./chain.js";
import { ChainBuilder } from "./chain-builder.js";
import { MAX_QUEUE_SIZE } from "./descriptor.js";
import { QueueError, type QueueFault } from "./errors.js";
import { type QueueFeatures, queueFeatures } from "./features.js";
import { InFlight } from "./in-flight.js";
import type { QueueLayout, QueueOptions, QueueState, QueueStateBase, VirtQueue } from "./queue.js";
import { checkBase, loadChain, stateError } from "./state.js";

/** What `unsignalled` stops counting at: more than any event index can lie behind. */
const MANY = 0x1_0000;
/** The longest chain with an indirect table, where the queue is shorter: what one readv takes. */
const MIN_CHAIN_LIMIT = 1024;

/** What split and packed queues have in common: all but the layout of their rings. */
export abstract class RingQueue implements VirtQueue {
  readonly index: number;
  readonly maxSize: number;
  protected readonly memory: GuestMemory;
  protected readonly features: QueueFeatures;
  protected readonly builder: ChainBuilder;
  protected flying: InFlight;
  /** Zero size: not configured. */
  protected layout: QueueLayout = NO_LAYOUT;
  /** What was used since the last look at the driver's suppression. */
  protected unsignalled = 0;
  #broken = false;

  constructor(options: QueueOptions) {
    const { index, memory, maxSize = MAX_QUEUE_SIZE, features } = options;
    if (!Number.isInteger(maxSize) || maxSize < 1 || maxSize > MAX_QUEUE_SIZE) {
      throw new BatonError(
        "INVALID_ARGUMENT",
        `queue ${index}: maxSize must be 1 to ${MAX_QUEUE_SIZE}, not ${maxSize}`,
      );
    }
    this.index = index;
    this.memory = memory;
    this.maxSize = maxSize;
    this.features = queueFeatures(features);
    this.builder = new ChainBuilder(memory, index);
    this.flying = new InFlight(0, this.features.inOrder);
  }

  /** Whether the layout can have this size. */
  protected abstract sizeAllowed(size: number): boolean;
  /** Makes the views of the rings; throws {@link QueueError}. */
  protected abstract attach(): void;
  /** Makes the views if they were dropped; throws {@link QueueError}. */
  protected abstract prepare(): void;
  /** Drops the views of the rings. */
  protected abstract detach(): void;
  /** Sets the places in the rings to their start. */
  protected abstract rewind(): void;
  /** The next chain, entered as in flight; throws {@link QueueError}. */
  protected abstract take(): Chain | null;
  /** Moves the place of the next pop back by a chain; false if that chain is not the last. */
  protected abstract stepBack(chain: Chain): boolean;
  /** Writes what is ready as used, so that the driver sees all or none; returns by how much the place moved. */
  protected abstract publish(done: InFlight): number;
  /** What the driver says about interrupts for the last `count` places. */
  protected abstract wantsInterrupt(count: number): boolean;
  /** Writes what the driver reads before it notifies. */
  protected abstract writeSuppression(enabled: boolean): void;
  protected abstract availableNow(): boolean;
  /** Takes over the places of another device side that has used the ring. */
  protected abstract adopt(lastAvail: number): void;
  protected abstract saveRing(base: QueueStateBase): QueueState;
  /** Takes the places in the rings; throws `VIRTQUEUE_STATE`. */
  protected abstract loadRing(state: QueueState): void;

  get size(): number {
    return this.layout.size;
  }

  get ready(): boolean {
    return this.layout.size > 0 && !this.#broken;
  }

  get broken(): boolean {
    return this.#broken;
  }

  get inFlight(): number {
    return this.flying.count;
  }

  configure(layout: QueueLayout): void {
    this.reset();
    try {
      this.#setLayout(layout);
    } catch (error) {
      this.reset();
      this.#broken = true;
      throw error;
    }
  }

  #setLayout({ size, desc, driver, device }: QueueLayout): void {
    if (!Number.isInteger(size) || size < 1 || size > this.maxSize || !this.sizeAllowed(size)) {
      throw this.fault("size", size, `cannot have ${size} descriptors`);
    }
    this.layout = { size, desc, driver, device };
    this.attach();
    this.flying = new InFlight(size, this.features.inOrder);
  }

  pop(): Chain | null {
    if (!this.ready) return null;
    try {
      return this.take();
    } catch (error) {
      if (error instanceof QueueError) this.#broken = true;
      throw error;
    }
  }

  unpop(chain: Chain): void {
    if (chain.owner !== this.flying || this.#broken) return;
    if (!this.flying.holds(chain) || !this.flying.isLatest(chain) || !this.stepBack(chain)) {
      throw new BatonError("INVALID_ARGUMENT", `queue ${this.index}: chain ${chain.id} is not the one popped last`);
    }
    this.flying.undo(chain);
  }

  push(chain: Chain, written: number): void {
    this.complete(chain, written);
    this.publishDone();
  }

  complete(chain: Chain, written: number): void {
    if (!Number.isInteger(written) || written < 0 || written > chain.writableLength) {
      const most = chain.writableLength;
      throw new BatonError("INVALID_ARGUMENT", `queue ${this.index}: ${written} bytes written of at most ${most}`);
    }
    chain.complete(written);
    if (chain.owner !== this.flying || this.#broken) return;
    if (!this.flying.holds(chain)) {
      throw new BatonError("INVALID_ARGUMENT", `queue ${this.index}: chain ${chain.id} was pushed already`);
    }
    // What fails here must leave the buffer in flight.
    this.prepare();
    // A driver that breaks the rules makes buffers available before it has seen the others used.
    if (this.flying.readyIsFull) this.publishDone();
    // The field has 32 bits, and a lower bound is allowed.
    this.flying.complete(chain, Math.min(written, 0xffff_ffff));
  }

  publishDone(): void {
    const { flying } = this;
    if (flying.readyCount === 0) return;
    this.unsignalled = Math.min(MANY, this.unsignalled + this.publish(flying));
    flying.readyCount = 0;
  }

  needsNotification(): boolean {
    const count = this.unsignalled;
    if (count === 0 || !this.ready) return false;
    this.unsignalled = 0;
    return this.wantsInterrupt(count);
  }

  setNotification(enabled: boolean): boolean {
    if (!this.ready) return false;
    this.writeSuppression(enabled);
    return enabled && this.availableNow();
  }

  hasAvailable(): boolean {
    return this.ready && this.availableNow();
  }

  reposition(lastAvail: number): void {
    if (this.inFlight > 0 || !this.ready) {
      throw new BatonError("INVALID_ARGUMENT", `queue ${this.index}: has buffers in flight, or is not in use`);
    }
    this.adopt(lastAvail);
    this.unsignalled = 0;
  }

  refresh(): void {
    this.detach();
    this.builder.ram.refresh();
  }

  reset(): void {
    this.refresh();
    this.layout = NO_LAYOUT;
    this.flying = new InFlight(0, this.features.inOrder);
    this.unsignalled = 0;
    this.#broken = false;
    this.rewind();
  }

  save(): QueueState {
    return this.saveRing({
      ...this.layout,
      ready: this.layout.size > 0,
      broken: this.#broken,
      unsignalled: this.unsignalled,
      inFlight: this.flying.save(),
    });
  }

  load(state: QueueState): void {
    this.reset();
    try {
      checkBase(this.index, state);
      if (state.ready) this.#load(state);
      this.#broken = state.broken;
    } catch (error) {
      this.reset();
      if (error instanceof QueueError) throw stateError(this.index, "layout", error.message, error);
      throw error;
    }
  }

  #load(state: QueueState): void {
    this.#setLayout(state);
    for (const { id, descriptors, written } of state.inFlight) {
      if (written !== null && !this.features.inOrder) throw stateError(this.index, "inFlight", "is out of order");
      if (this.flying.has(id)) throw stateError(this.index, "inFlight", `has the buffer ${id} twice`);
      this.flying.add(id, descriptors, undefined, written ?? -1);
    }
    if ((state.inFlight[0]?.written ?? null) !== null)
      throw stateError(this.index, "inFlight", "begins with a used one");
    if (this.flying.descriptors > state.size) {
      throw stateError(this.index, "inFlight", "has more descriptors than the queue");
    }
    this.unsignalled = state.unsignalled;
    this.loadRing(state);
  }

  restoreChain(state: ChainState): Chain {
    if (this.flying.descriptorsOf(state.id) !== state.descriptors || state.descriptors === 0) {
      throw stateError(this.index, "inFlight", `does not have the chain ${state.id}`);
    }
    const chain = loadChain(this.index, state, this.builder, this.flying);
    this.flying.restore(chain);
    return chain;
  }

  /** The most pieces of a chain that ends in an indirect table. */
  protected get chainLimit(): number {
    return Math.max(this.layout.size, MIN_CHAIN_LIMIT);
  }

  /** Enters a chain as in flight, as far as the queue has room for it. */
  protected enter(id: number, position: number, descriptors: number): Chain {
    if (this.flying.has(id)) throw this.fault("duplicate", id, `the device has buffer ${id} already`);
    if (this.flying.descriptors + descriptors > this.layout.size) {
      throw this.fault("overcommit", id, `buffer ${id}: more than ${this.layout.size} descriptors are with the device`);
    }
    const chain = this.builder.finish(this.flying, id, position, descriptors);
    this.flying.add(id, descriptors, chain);
    return chain;
  }

  /** Checks where an area stands and returns its views: all of them on the same bytes. */
  protected area(name: "desc" | "driver" | "device", align: number, bytes: number): { gpa: number; u16: Uint16Array } {
    const address = this.layout[name];
    const gpa = Number(address);
    const inRam = address >= 0n && Number.isSafeInteger(gpa) && this.builder.ram.has(gpa, bytes);
    if (!inRam || gpa % align !== 0) {
      const what = `the ${name} area, ${bytes} bytes at 0x${address.toString(16)},`;
      throw this.fault("ring-address", 0, `${what} is not RAM, or not aligned to ${align}`);
    }
    try {
      return { gpa, u16: this.memory.u16(gpa, bytes / 2) };
    } catch (cause) {
      if (!BatonError.is(cause, "GUEST_MEMORY_NOT_CONTIGUOUS")) throw cause;
      throw this.fault("ring-address", 0, `the ${name} area at 0x${address.toString(16)} spans two blocks of RAM`);
    }
  }

  /** Breaks the queue; the error is to be thrown. */
  protected fault(reason: QueueFault, index: number, message: string): QueueError {
    this.#broken = true;
    return new QueueError(this.index, reason, index, message);
  }
}

const NO_LAYOUT: QueueLayout = { size: 0, desc: 0n, driver: 0n, device: 0n };

/** The same bytes as 32-bit fields; `from` in bytes. */
export function wide(u16: Uint16Array, from = 0): Uint32Array {
  return new Uint32Array(u16.buffer, u16.byteOffset + from, (u16.byteLength - from) >>> 2);
}
