import {
  type Fd,
  getTerminalState,
  O_NOCTTY,
  O_RDWR,
  open,
  openPty,
  setNonblocking,
  setWindowSize,
  tryRead,
  write,
} from "@baton/linux";
import { batonPath, environment, Program } from "./baton.js";
import { until } from "./until.js";

/** Offsets in `struct termios2`, and the bits of `c_lflag` that raw mode takes away. */
const C_LFLAG = 12;
const ICANON = 2;
const ECHO = 8;

/** A terminal window: the master side of a pseudo-terminal, with the other side kept open to look at its settings. */
export class TerminalWindow {
  readonly path: string;
  /** Everything that has been displayed. */
  screen = "";
  readonly #master: Fd;
  readonly #slave: Fd;
  readonly #buffer = new Uint8Array(65536);

  constructor() {
    const { master, slavePath } = openPty();
    this.path = slavePath;
    this.#master = master;
    setNonblocking(master, true);
    this.#slave = open(slavePath, O_RDWR | O_NOCTTY);
  }

  /** Runs the built `baton` in a session of its own whose terminal this is. */
  run(args: readonly string[], options: { readonly nodeOptions?: string } = {}): Program {
    const { raw } = this.#slave;
    const env = { ...environment, ...(options.nodeOptions !== undefined && { NODE_OPTIONS: options.nodeOptions }) };
    return new Program("setsid", ["--ctty", process.execPath, batonPath, ...args], { stdio: [raw, raw, raw], env });
  }

  /** The terminal's settings. */
  get settings(): Buffer {
    return Buffer.from(getTerminalState(this.#slave).termios2);
  }

  /** Whether it passes every byte at once and without echo. */
  get isRaw(): boolean {
    return (this.settings.readUInt32LE(C_LFLAG) & (ICANON | ECHO)) === 0;
  }

  /** Gives the window another size, as a user does with its corner. */
  resize(rows: number, columns: number): void {
    setWindowSize(this.#master, { rows, columns });
  }

  type(text: string): void {
    write(this.#master, Buffer.from(text, "latin1"));
  }

  /** Takes in what has been displayed since. */
  refresh(): void {
    for (let count = 1; count > 0; ) {
      count = tryRead(this.#master.raw, this.#buffer);
      if (count > 0) this.screen += Buffer.from(this.#buffer.subarray(0, count)).toString("latin1");
    }
  }

  /** Waits until the text is on the screen. */
  async shows(pattern: RegExp): Promise<void> {
    await until(() => {
      this.refresh();
      return pattern.test(this.screen);
    }, `${pattern} on the terminal`).catch((error: Error) => {
      throw new Error(`${error.message}; it shows ${JSON.stringify(this.screen)}`);
    });
  }

  /** Waits for the end of the program while the terminal displays what it writes. */
  async ended(program: Program, timeoutMs = 20_000): Promise<number | NodeJS.Signals> {
    await until(
      () => {
        this.refresh();
        return program.end !== undefined;
      },
      "the end of the process",
      timeoutMs,
    );
    this.refresh();
    return program.end as number | NodeJS.Signals;
  }

  /** Closes the window, as a user does with a click. */
  close(): void {
    this.#master.close();
    this.#slave.close();
  }
}
