import { Socket } from "node:net";

const LINES = 20;
const EVERY_MS = 10;

/** The other side of a console whose guest sends lines that count, and expects such: checks one way, sends the other. */
export class LineCounter {
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  #expected: bigint | undefined;
  #next = 1n;
  #rest = "";
  problem: string | undefined;
  lines = 0;

  /** Takes over the descriptor. */
  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: true });
    this.#socket.on("error", (error) => {
      this.problem ??= error.message;
    });
    this.#socket.setEncoding("latin1").on("data", (text: string) => this.#take(text));
    this.#timer = setInterval(() => this.#send(), EVERY_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.removeAllListeners();
    this.#socket.on("error", () => {});
    this.#socket.destroy();
  }

  #send(): void {
    if (this.#socket.writableLength > 0) return;
    let text = "";
    for (let i = 0; i < LINES; i++) text += `c${(this.#next++).toString(16)}\n`;
    this.#socket.write(text);
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() as string;
    for (const line of lines) {
      const number = /^c([0-9a-f]+)$/.exec(line)?.[1];
      if (number === undefined) this.problem ??= `a line '${line}'`;
      const value = BigInt(`0x${number ?? "0"}`);
      if (this.#expected !== undefined && value !== this.#expected) this.problem ??= `${line}, not ${this.#expected}`;
      this.#expected = value + 1n;
      this.lines++;
    }
  }
}
