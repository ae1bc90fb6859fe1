import type { InFlightState } from "./queue.js";

/** A buffer that the device has. */
export interface InFlightEntry {
  readonly id: number;
  readonly descriptors: number;
  /** The length to tell the driver once the device is done; -1 until then. */
  written: number;
}

/** The buffers that a device has popped and not yet used, in that order. */
export class InFlight {
  readonly #entries = new Map<number, InFlightEntry>();
  readonly #inOrder: boolean;
  /** All their descriptors. */
  descriptors = 0;

  /** `inOrder`: buffers are used in the order of their popping (virtio 1.2, 2.7.9 and 2.8.8). */
  constructor(inOrder: boolean) {
    this.#inOrder = inOrder;
  }

  /** How many. */
  get count(): number {
    return this.#entries.size;
  }

  /** The one with an id. */
  get(id: number): InFlightEntry | undefined {
    return this.#entries.get(id);
  }

  /** Takes one, whose id must be new. */
  add(id: number, descriptors: number, written = -1): void {
    this.#entries.set(id, { id, descriptors, written });
    this.descriptors += descriptors;
  }

  /** Drops one. */
  remove(entry: InFlightEntry): void {
    this.#entries.delete(entry.id);
    this.descriptors -= entry.descriptors;
  }

  /** Notes that the device is done with one, and moves those to `ready` that the driver may now be told of. */
  complete(entry: InFlightEntry, written: number, ready: InFlightEntry[]): void {
    entry.written = written;
    if (!this.#inOrder) {
      this.remove(entry);
      ready.push(entry);
      return;
    }
    for (const first of this.#entries.values()) {
      if (first.written < 0) return;
      this.remove(first);
      ready.push(first);
    }
  }

  /** As plain data. */
  save(): InFlightState[] {
    return [...this.#entries.values()].map(({ id, descriptors, written }) => ({
      id,
      descriptors,
      written: written < 0 ? null : written,
    }));
  }
}
