// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences of the firmware are what is looked for
const ESCAPES = /\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|c)|[\r\0]/g;

/** Cuts the testbed's serial output into lines, free of carriage returns and of the firmware's terminal escapes. */
export class SerialLines {
  readonly #onLine: (line: string) => void;
  readonly #lines: string[] = [];
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** Takes the next piece of output. */
  push(chunk: Buffer): void {
    const pieces = (this.#rest + chunk.toString("latin1")).split("\n");
    this.#rest = pieces.pop() ?? "";
    for (const piece of pieces) this.#take(piece);
  }

  /** Takes what is left without a line end. */
  end(): void {
    if (this.#rest !== "") this.#take(this.#rest);
    this.#rest = "";
  }

  /** All lines so far. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  #take(raw: string): void {
    const line = Buffer.from(raw.replace(ESCAPES, ""), "latin1").toString();
    this.#lines.push(line);
    this.#onLine(line);
  }
}
