import type { GuestMemory } from "@baton/memory";
import { DESC_F_NEXT, type QueueLayout } from "../../src/index.js";
import type { Descriptor, Rings, Used } from "./driver.js";

/** Whether moving from `old` to `now` passed `event` (virtio 1.2, 2.7.7.1). */
const passed = (event: number, now: number, old: number) => ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);

/** The driver's side of a split queue. */
export class SplitRings implements Rings {
  readonly layout: QueueLayout;
  readonly #desc: Uint32Array;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #entries: Uint32Array;
  readonly #event: boolean;
  readonly #unused: number[];
  readonly #chains = new Map<number, number[]>();
  #next: number;
  #published: number;
  #seen: number;

  /** Both indices begin at `start`, as if the queue had been in use for long. */
  constructor(memory: GuestMemory, layout: QueueLayout, event: boolean, start: number) {
    const { size, desc, driver, device } = layout;
    this.layout = layout;
    this.#event = event;
    this.#desc = memory.u32(desc, 4 * size);
    this.#avail = memory.u16(driver, 2 + size + (event ? 1 : 0));
    this.#used = memory.u16(device, 2 + 4 * size + (event ? 1 : 0));
    this.#entries = memory.u32(device + 4n, 2 * size);
    this.#desc.fill(0);
    this.#avail.fill(0);
    this.#used.fill(0);
    this.#avail[1] = start;
    this.#used[1] = start;
    this.#next = start;
    this.#published = start;
    this.#seen = start;
    this.#unused = Array.from({ length: size }, (_, i) => i);
  }

  get free(): number {
    return this.#unused.length;
  }

  place(chain: readonly Descriptor[]): number {
    const own = this.#unused.splice(0, chain.length);
    for (const [i, { gpa, length, flags }] of chain.entries()) {
      const at = (own[i] as number) * 4;
      this.#desc[at] = gpa % 2 ** 32;
      this.#desc[at + 1] = Math.floor(gpa / 2 ** 32);
      this.#desc[at + 2] = length;
      this.#desc[at + 3] = flags | ((flags & DESC_F_NEXT) !== 0 ? (own[i + 1] as number) << 16 : 0);
    }
    const head = own[0] as number;
    this.#chains.set(head, own);
    this.#avail[2 + (this.#next & (this.layout.size - 1))] = head;
    this.#next = (this.#next + 1) & 0xffff;
    return head;
  }

  publish(): boolean {
    const old = this.#published;
    this.#published = this.#next;
    Atomics.store(this.#avail, 1, this.#next);
    if (!this.#event) return (Atomics.load(this.#used, 0) & 1) === 0;
    return passed(Atomics.load(this.#used, 2 + 4 * this.layout.size), this.#next, old);
  }

  take(): Used | null {
    if (Atomics.load(this.#used, 1) === this.#seen) return null;
    const at = (this.#seen & (this.layout.size - 1)) * 2;
    const id = this.#entries[at] as number;
    const own = this.#chains.get(id);
    if (own === undefined) throw new Error(`${id} is used and was not available`);
    this.#chains.delete(id);
    // Not in the order of use, so that chains mix.
    this.#unused.unshift(...own);
    this.#seen = (this.#seen + 1) & 0xffff;
    return { id, length: this.#entries[at + 1] as number };
  }

  setInterrupts(enabled: boolean): boolean {
    if (!this.#event) Atomics.store(this.#avail, 0, enabled ? 0 : 1);
    else if (enabled) Atomics.store(this.#avail, 2 + this.layout.size, this.#seen);
    return enabled && Atomics.load(this.#used, 1) !== this.#seen;
  }
}
