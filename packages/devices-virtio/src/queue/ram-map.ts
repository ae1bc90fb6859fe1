import type { GuestMemory } from "@baton/memory";

/** Answers what `GuestMemory.has` answers, without allocating: asked for every descriptor. */
export class RamMap {
  readonly #memory: GuestMemory;
  /** Of the range that was hit last. */
  #start = 0;
  #end = 0;
  #ranges: (readonly [number, number])[] | undefined;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** Forgets what is remembered: to be called when the memory has taken another layout. */
  refresh(): void {
    this.#ranges = undefined;
    this.#start = 0;
    this.#end = 0;
  }

  /** Whether a range is RAM throughout; `gpa` and `length` are integers of at least 0, the length at least 1. */
  has(gpa: number, length: number): boolean {
    const end = gpa + length;
    if (gpa >= this.#start && end <= this.#end) return true;
    this.#ranges ??= joined(this.#memory);
    for (const [from, to] of this.#ranges) {
      if (gpa < from || end > to) continue;
      this.#start = from;
      this.#end = to;
      return true;
    }
    return false;
  }
}

/** The memory's regions in ascending order, with those that touch as one. */
function joined(memory: GuestMemory): [number, number][] {
  const ranges: [number, number][] = [];
  for (const { gpa, size } of memory.describe().regions) {
    const start = Number(gpa);
    const end = Number(gpa + size);
    const before = ranges[ranges.length - 1];
    if (before !== undefined && before[1] === start) before[1] = end;
    else ranges.push([start, end]);
  }
  return ranges;
}
