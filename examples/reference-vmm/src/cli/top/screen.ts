import { BatonError, isatty } from "@baton/linux";
import { TerminalMode } from "../../surface/terminal-mode.js";

const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const CTRL_C = 3;
const CTRL_Z = 26;
const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** A terminal that shows one text after the other, until `q`; put back in every way of ending but SIGKILL. */
export class Screen {
  /** Aborted when it shall end. */
  readonly ended: AbortSignal;
  readonly #abort = new AbortController();
  readonly #mode: TerminalMode;
  #text = "";

  /** Fails with `NOT_A_TERMINAL` unless standard input and output are one. */
  constructor() {
    if (!isatty(0) || !isatty(1)) {
      throw new BatonError("NOT_A_TERMINAL", "Standard input and output are no terminal", {
        hint: "baton top --once prints one sample",
      });
    }
    this.ended = this.#abort.signal;
    this.#mode = new TerminalMode(() => this.#enter());
    this.#enter();
    process.on("exit", this.#leave);
    for (const signal of signals) process.on(signal, this.#end);
    process.stdin.on("data", this.#onKeys);
    process.stdin.on("end", this.#end);
    process.stdin.on("error", this.#end);
    process.stdout.on("resize", this.#draw);
  }

  /** Shows a text in the place of the last one; what has no room is cut off. */
  show(text: string): void {
    this.#text = text;
    this.#draw();
  }

  /** Puts the terminal back. */
  close(): void {
    process.stdin.off("data", this.#onKeys);
    process.stdin.pause();
    process.stdout.off("resize", this.#draw);
    for (const signal of signals) process.off(signal, this.#end);
    process.off("exit", this.#leave);
    this.#leave();
    this.#mode.close();
  }

  #enter(): void {
    process.stdout.write(ENTER);
    this.#draw();
  }

  readonly #leave = (): void => {
    process.stdout.write(LEAVE);
  };

  readonly #end = (): void => this.#abort.abort();

  readonly #onKeys = (keys: Buffer): void => {
    for (const key of keys) {
      if (key === CTRL_C || key === "q".charCodeAt(0)) this.#end();
      else if (key === CTRL_Z) {
        this.#leave();
        this.#mode.stop();
      }
    }
  };

  readonly #draw = (): void => {
    const { columns = 80, rows = 24 } = process.stdout;
    const lines = this.#text.split("\n").slice(0, rows - 1);
    process.stdout.write(`\x1b[H${lines.map((line) => `${line.slice(0, columns)}\x1b[K\r\n`).join("")}\x1b[J`);
  };
}
