import type { GuestMemory } from "@baton/memory";
import {
  DESC_BYTES,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  type QueueFeatures,
  type QueueLayout,
} from "../../src/index.js";
import { PackedRings } from "./packed-rings.js";
import { SplitRings } from "./split-rings.js";

/** A part of a buffer, as the driver wants it. */
export interface Part {
  readonly gpa: number;
  readonly length: number;
  readonly writable: boolean;
}

/** A descriptor as the driver writes it; a packed ring ignores `next`. */
export interface Descriptor {
  readonly gpa: number;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** A used buffer: the id that it was added with, and its length. */
export interface Used {
  readonly id: number;
  readonly length: number;
}

/** The driver's side of one layout (virtio 1.2, 2.7.13 to 2.7.14 and 2.8.21 to 2.8.22). */
export interface Rings {
  readonly layout: QueueLayout;
  /** Free descriptors. */
  readonly free: number;
  /** Places a chain that is not visible yet; returns its id. There must be room. */
  place(chain: readonly Descriptor[]): number;
  /** Makes the placed chains visible; whether the device wants to be notified. */
  publish(): boolean;
  /** The next used buffer. */
  take(): Used | null;
  /** Asks for interrupts or not; when it has asked, whether there is something used already. */
  setInterrupts(enabled: boolean): boolean;
}

/** Where the model puts its areas, from a base on. */
export function areas(base: number, size: number): QueueLayout {
  const desc = BigInt(base);
  const driver = desc + BigInt(DESC_BYTES * size);
  const device = (driver + BigInt(6 + 2 * size) + 3n) & ~3n;
  return { size, desc, driver, device };
}

/** A driver as a guest has one: places buffers, directly or through tables of their own. */
export class Driver {
  readonly rings: Rings;
  readonly #memory: GuestMemory;
  readonly #tables: number;

  /** Tables of up to 16 descriptors stand at `tables`, one for each id. A split queue's indices begin at `start`. */
  constructor(memory: GuestMemory, features: QueueFeatures, base: number, size: number, tables: number, start = 0) {
    const layout = areas(base, size);
    this.#memory = memory;
    this.#tables = tables;
    this.rings = features.packed
      ? new PackedRings(memory, layout, features.eventIndex)
      : new SplitRings(memory, layout, features.eventIndex, start);
  }

  /** The address of the table in slot `slot`. */
  table(slot: number): number {
    return this.#tables + slot * 16 * DESC_BYTES;
  }

  /** Places a buffer; its id, or null if there is no room. With `slot` it goes through that table. */
  add(parts: readonly Part[], slot?: number): number | null {
    const chain = parts.map(({ gpa, length, writable }, i) => {
      const next = i + 1 < parts.length ? DESC_F_NEXT : 0;
      return { gpa, length, flags: (writable ? DESC_F_WRITE : 0) | next, next: i + 1 };
    });
    const needed = slot === undefined ? chain.length : 1;
    if (this.rings.free < needed) return null;
    if (slot === undefined) return this.rings.place(chain);
    const gpa = this.table(slot);
    const packed = this.rings instanceof PackedRings;
    for (const [i, { gpa: address, length, flags, next }] of chain.entries()) {
      const at = gpa + i * DESC_BYTES;
      this.#memory.writeU64(at, BigInt(address));
      this.#memory.writeU32(at + 8, length);
      // 2.8.19: no flag but writable in a packed table.
      this.#memory.writeU32(at + 12, packed ? (flags & DESC_F_WRITE) << 16 : flags | (next << 16));
    }
    return this.rings.place([{ gpa, length: chain.length * DESC_BYTES, flags: DESC_F_INDIRECT, next: 0 }]);
  }
}
