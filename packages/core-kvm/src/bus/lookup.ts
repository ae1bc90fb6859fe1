import type { BusDescription } from "./bus.js";

/** A range as a vCPU thread looks it up; addresses are exact as numbers, since guests have at most 52 address bits. */
export interface LookupRange {
  readonly base: number;
  readonly end: number;
  /** Subtracted from an address to get the device's offset. */
  readonly bias: number;
  readonly device: number;
}

/** Finds the device behind an I/O port in constant time. */
export class PortLookup {
  readonly #index = new Uint8Array(0x10000);
  readonly #ranges: LookupRange[];

  constructor(bus: BusDescription) {
    this.#ranges = ranges(bus, "pio");
    this.#ranges.forEach((range, i) => {
      this.#index.fill(i + 1, range.base, range.end);
    });
  }

  find(port: number): LookupRange | undefined {
    return this.#ranges[(this.#index[port] as number) - 1];
  }
}

/** Finds the device behind a guest physical address: the last one found first, then by bisection. */
export class AddressLookup {
  readonly #ranges: LookupRange[];
  #last: LookupRange | undefined;

  constructor(bus: BusDescription) {
    this.#ranges = ranges(bus, "mmio").sort((a, b) => a.base - b.base);
  }

  find(address: number): LookupRange | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.base && address < last.end) return last;
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.#ranges[middle] as LookupRange;
      if (address < range.base) high = middle - 1;
      else if (address >= range.end) low = middle + 1;
      else {
        this.#last = range;
        return range;
      }
    }
    return undefined;
  }
}

function ranges(bus: BusDescription, space: "pio" | "mmio"): LookupRange[] {
  return bus.ranges
    .filter((range) => range.space === space)
    .map((range) => {
      const base = Number(range.base);
      return { base, end: base + range.length, bias: base - (range.offset ?? 0), device: range.device };
    });
}
