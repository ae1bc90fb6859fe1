import { Socket } from "node:net";
import { type Fd, isatty, O_NOCTTY, O_NONBLOCK, O_WRONLY, open, socketpair } from "@baton/linux";
import { TerminalMode } from "../surface/terminal-mode.js";

const PREFIX = 1;
const HELP = [
  "Ctrl-A h       this help",
  "Ctrl-A x       end the VM",
  "Ctrl-A p       pause or resume the guest",
  "Ctrl-A Ctrl-A  send Ctrl-A to the guest",
];

/** What the keys after Ctrl-A can do. */
export interface TerminalKeys {
  quit(): void;
  togglePause(): void;
}

/**
 * The terminal as the guest's console: raw while the VM runs, with Ctrl-A as the prefix of the VMM's own keys, and put
 * back in every way of ending. Where standard input is not a terminal it goes to the guest as it is.
 */
export class ConsoleTerminal {
  /** The descriptor from which the guest's input is read. */
  readonly inputFd: number;
  /** The descriptor to which the guest's output goes. */
  readonly outputFd: number;
  readonly #output: Fd | undefined;
  readonly #pair: readonly [Fd, Fd] | undefined;
  readonly #mode: TerminalMode | undefined;
  #prefixed = false;

  constructor(keys: TerminalKeys) {
    this.#output = openTerminal(1);
    this.outputFd = this.#output?.raw ?? 1;
    if (!isatty(0)) {
      this.inputFd = 0;
      return;
    }
    this.#pair = socketpair({ nonblock: true });
    const [guestEnd, ownEnd] = this.#pair;
    this.inputFd = guestEnd.raw;
    const toGuest = new Socket({ fd: ownEnd.release() });
    toGuest.on("error", () => {});
    this.#mode = new TerminalMode();
    process.stderr.write("Ctrl-A h lists the keys, Ctrl-A x ends the VM.\n");
    process.stdin.on("data", (chunk: Buffer) => {
      const bytes = this.#filter(chunk, keys);
      if (bytes.length > 0 && !toGuest.write(bytes)) {
        process.stdin.pause();
        toGuest.once("drain", () => process.stdin.resume());
      }
    });
    // The terminal is gone: raw mode knows no other end of input.
    process.stdin.on("end", () => keys.quit());
    process.stdin.on("error", () => keys.quit());
  }

  /** Takes the VMM's own keys out of what was typed. */
  #filter(chunk: Buffer, keys: TerminalKeys): Buffer {
    const out: number[] = [];
    for (const byte of chunk) {
      if (!this.#prefixed) {
        if (byte === PREFIX) this.#prefixed = true;
        else out.push(byte);
        continue;
      }
      this.#prefixed = false;
      if (byte === PREFIX) out.push(byte);
      else if (byte === 0x78) keys.quit();
      else if (byte === 0x70) keys.togglePause();
      else process.stderr.write(`\n${HELP.join("\n")}\n`);
    }
    return Buffer.from(out);
  }

  /** Puts the terminal back. May be called again. */
  close(): void {
    this.#output?.close();
    if (this.#pair === undefined) return;
    process.stdin.removeAllListeners("data");
    process.stdin.pause();
    this.#mode?.close();
    this.#pair[0].close();
  }
}

/** A terminal by a descriptor of one's own that does not block; undefined where the given one has to do. */
function openTerminal(fd: number): Fd | undefined {
  if (!isatty(fd)) return undefined;
  try {
    return open(`/proc/self/fd/${fd}`, O_WRONLY | O_NOCTTY | O_NONBLOCK);
  } catch {
    return undefined;
  }
}
