/** Numbers that repeat with their seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
}

const TELLING = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x20, 0x30, 0x40, 0x7b, 0x7e, 0x7f, 0x80, 0xff];

/** A copy with one to three changes; what is likely to matter is outside the contents of pages, at `places`. */
export function mutate(bytes: Uint8Array, random: Random, places: readonly number[]): Uint8Array {
  let changed = Uint8Array.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(8) === 0 ? random.below(changed.length) : (places[random.below(places.length)] as number);
    const count = 1 + random.below(random.below(4) === 0 ? 5000 : 12);
    switch (random.below(8)) {
      case 0:
      case 1:
        changed[at % changed.length]! ^= 1 << random.below(8);
        break;
      case 2:
      case 3:
        changed[at % changed.length] = TELLING[random.below(TELLING.length)] as number;
        break;
      case 4:
        changed = joined(changed.subarray(0, at), changed.subarray(at + count));
        break;
      case 5:
        changed = joined(changed.subarray(0, at + count), changed.subarray(at));
        break;
      case 6: {
        const from = places[random.below(places.length)] as number;
        changed.copyWithin(at, from, from + count);
        break;
      }
      default:
        if (random.below(4) === 0) changed = changed.slice(0, at);
        else new DataView(changed.buffer).setUint32(Math.min(at, changed.length - 4), random.below(2 ** 32 - 1));
    }
    if (changed.length < 8) return changed;
  }
  return changed;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
