import { makeRaw, restore, type TerminalState } from "@baton/linux";

/**
 * The terminal of standard input in raw mode, but for line ends of output: given back while the process is stopped, and
 * at the end of the process.
 */
export class TerminalMode {
  readonly #onContinue: () => void;
  #saved: TerminalState | undefined;

  /** Makes it raw. `onContinue` is called when it is raw again after a stop. */
  constructor(onContinue: () => void = () => {}) {
    this.#onContinue = onContinue;
    this.#enter();
    process.on("SIGCONT", this.#continue);
    process.on("SIGTSTP", this.#stop);
    process.on("exit", this.#restore);
  }

  /** Gives the terminal back and stops the process, as Ctrl-Z does. */
  stop(): void {
    this.#stop();
  }

  /** Gives the terminal back. May be called again. */
  close(): void {
    process.off("SIGCONT", this.#continue);
    process.off("SIGTSTP", this.#stop);
    process.off("exit", this.#restore);
    this.#restore();
    this.#saved = undefined;
  }

  #enter(): void {
    const before = makeRaw(0, { keepOutput: true });
    this.#saved ??= before;
  }

  /** A terminal that was closed has nothing to restore. */
  readonly #restore = (): void => {
    if (this.#saved === undefined) return;
    try {
      restore(0, this.#saved);
    } catch {}
  };

  readonly #continue = (): void => {
    this.#enter();
    this.#onContinue();
  };

  readonly #stop = (): void => {
    this.#restore();
    process.kill(process.pid, "SIGSTOP");
  };
}
