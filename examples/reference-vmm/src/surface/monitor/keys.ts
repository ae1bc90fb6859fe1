import { EventEmitter } from "node:events";

/** The most bytes that are given to the line editor at once. */
const MAX_PIECE_BYTES = 256;
const LF = 0x0a;
const CR = 0x0d;
const CTRL_C = 0x03;
const TAB = 0x09;
const SPACE = Uint8Array.of(0x20);

const isEnd = (byte: number | undefined) => byte === LF || byte === CR || byte === CTRL_C;

/** What was typed, as a line editor reads it: each piece has been taken in when {@link type} returns. */
export class Keys extends EventEmitter {
  /**
   * Gives bytes to the editor, one at a time: of several together it would take the first ones for pasted, and put them
   * at the line's end wherever the cursor is. A tab completes if nothing else is there behind it (`more` says whether
   * something waits); else it came with a paste, and is a space.
   */
  type(bytes: Uint8Array, more: boolean): void {
    const tabs = more ? bytes.length : bytes.findLastIndex((byte) => byte !== TAB) + 1;
    for (let i = 0; i < bytes.length; i++) {
      this.emit("data", bytes[i] === TAB && i < tabs ? SPACE : bytes.subarray(i, i + 1));
    }
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

/** Length of the next piece of `bytes` to type: none goes on behind a line's end or a Ctrl-C. */
export function pieceLength(bytes: Uint8Array): number {
  const limit = Math.min(bytes.length, MAX_PIECE_BYTES);
  for (let i = 0; i < limit; i++) if (isEnd(bytes[i])) return i + 1;
  return limit;
}

/** Whether a piece ends its line, or gives it up. */
export function pieceEnds(piece: Uint8Array): boolean {
  return isEnd(piece[piece.length - 1]);
}
