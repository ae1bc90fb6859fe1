import type { GuestMemory } from "@baton/memory";
import { DESC_F_AVAIL, DESC_F_USED, type QueueLayout } from "../../src/index.js";
import type { Descriptor, Rings, Used } from "./driver.js";

/** The driver's side of a packed queue. */
export class PackedRings implements Rings {
  readonly layout: QueueLayout;
  readonly #ring: Uint32Array;
  readonly #driver: Uint16Array;
  readonly #device: Uint32Array;
  readonly #event: boolean;
  readonly #ids: number[];
  readonly #chains = new Map<number, number>();
  #free: number;
  #next = 0;
  #wrap = 1;
  /** Descriptors placed since the last publication, and the word of the first, which makes all of them visible. */
  #placed = 0;
  #first: { readonly at: number; readonly word: number } | undefined;
  #used = 0;
  #usedWrap = 1;

  constructor(memory: GuestMemory, layout: QueueLayout, event: boolean) {
    const { size, desc, driver, device } = layout;
    this.layout = layout;
    this.#event = event;
    this.#ring = memory.u32(desc, 4 * size);
    this.#driver = memory.u16(driver, 2);
    this.#device = memory.u32(device, 1);
    this.#ring.fill(0);
    this.#driver.fill(0);
    this.#device.fill(0);
    this.#ids = Array.from({ length: size }, (_, i) => i);
    this.#free = size;
  }

  get free(): number {
    return this.#free;
  }

  place(chain: readonly Descriptor[]): number {
    const id = this.#ids.shift() as number;
    for (const { gpa, length, flags } of chain) {
      const at = this.#next * 4;
      this.#ring[at] = gpa % 2 ** 32;
      this.#ring[at + 1] = Math.floor(gpa / 2 ** 32);
      this.#ring[at + 2] = length;
      const word = (((flags | (this.#wrap === 1 ? DESC_F_AVAIL : DESC_F_USED)) << 16) | id) >>> 0;
      if (this.#first === undefined) this.#first = { at: at + 3, word };
      else this.#ring[at + 3] = word;
      this.#advance();
    }
    this.#placed += chain.length;
    this.#free -= chain.length;
    this.#chains.set(id, chain.length);
    return id;
  }

  #advance(): void {
    this.#next++;
    if (this.#next < this.layout.size) return;
    this.#next = 0;
    this.#wrap ^= 1;
  }

  publish(): boolean {
    const count = this.#placed;
    if (this.#first) Atomics.store(this.#ring, this.#first.at, this.#first.word);
    this.#first = undefined;
    this.#placed = 0;
    const word = Atomics.load(this.#device, 0);
    const flags = (word >>> 16) & 3;
    if (flags !== 2) return flags === 0;
    // As Linux does it: places of an earlier lap count as negative.
    const { size } = this.layout;
    const event = (word & 0x7fff) - (((word >>> 15) & 1) === this.#wrap ? 0 : size);
    return ((this.#next - event - 1) & 0xffff) < count;
  }

  #ready(): boolean {
    const word = Atomics.load(this.#ring, this.#used * 4 + 3);
    return ((word >>> 23) & 1) === this.#usedWrap && word >>> 31 === this.#usedWrap;
  }

  take(): Used | null {
    if (!this.#ready()) return null;
    const word = this.#ring[this.#used * 4 + 3] as number;
    const length = this.#ring[this.#used * 4 + 2] as number;
    const id = word & 0xffff;
    const count = this.#chains.get(id);
    if (count === undefined) throw new Error(`${id} is used and was not available`);
    if (((word >>> 17) & 1) !== (length > 0 ? 1 : 0)) throw new Error(`the write flag is wrong for ${length} bytes`);
    this.#chains.delete(id);
    this.#ids.push(id);
    this.#free += count;
    this.#used += count;
    if (this.#used >= this.layout.size) {
      this.#used -= this.layout.size;
      this.#usedWrap ^= 1;
    }
    return { id, length };
  }

  setInterrupts(enabled: boolean): boolean {
    if (enabled && this.#event) {
      // The place first, as the flags make it valid (2.8.14).
      Atomics.store(this.#driver, 0, this.#used | (this.#usedWrap << 15));
      Atomics.store(this.#driver, 1, 2);
    } else Atomics.store(this.#driver, 1, enabled ? 0 : 1);
    return enabled && this.#ready();
  }
}
