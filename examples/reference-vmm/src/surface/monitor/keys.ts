import { EventEmitter } from "node:events";

/** The most bytes that are given to the line editor at once. */
const MAX_PIECE_BYTES = 256;
const LF = 0x0a;
const CR = 0x0d;

/** What was typed, as a line editor reads it: each piece has been taken in when {@link type} returns. */
export class Keys extends EventEmitter {
  /** Gives bytes to the editor. */
  type(bytes: Uint8Array): void {
    this.emit("data", bytes);
  }

  /** The editor stops its input when it has its own affairs; who types here asks it first. */
  pause(): this {
    return this;
  }

  resume(): this {
    return this;
  }

  /** As the line editor wants to see it. */
  asInput(): NodeJS.ReadableStream {
    return this as unknown as NodeJS.ReadableStream;
  }
}

/** Length of the next piece of `bytes` to type: no piece goes on behind a line's end. */
export function pieceLength(bytes: Uint8Array): number {
  const limit = Math.min(bytes.length, MAX_PIECE_BYTES);
  for (let i = 0; i < limit; i++) if (bytes[i] === LF || bytes[i] === CR) return i + 1;
  return limit;
}
