import type { BusHandler, EmbedderHandler, HandlerContext } from "@baton/core-kvm";

/** The "exits" guest marks the beginning (even) and the end (odd) of a loop here. */
export const MARK_PORT = 0x4e0n;
export const LOOP_PORT = 0x4e4n;
export const LOOP_GPA = 0xd0000000n;

/** Nanoseconds of CLOCK_MONOTONIC at each mark: word `2 * kind + (end ? 1 : 0)`. */
export function markHandler(context: HandlerContext): BusHandler {
  const times = new BigUint64Array(context.shared);
  return {
    read: () => 0,
    write(_offset, _size, value) {
      times[(value >> 8) * 2 + (value & 1)] = process.hrtime.bigint();
    },
  };
}

/** A register that keeps what was written: what the loops talk to. */
export function registerHandler(context: HandlerContext): BusHandler {
  const word = new Uint32Array(context.shared);
  return {
    read: () => word[0] as number,
    write(_offset, _size, value) {
      word[0] = value;
    },
  };
}

/** The same register in the embedder's thread. */
export function embedderRegister(): EmbedderHandler {
  let word = 0;
  return {
    read: () => word,
    write(_offset, _size, value) {
      word = value;
    },
  };
}
