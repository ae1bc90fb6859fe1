import { connect, type Socket } from "node:net";

/** What a terminal is told to do with its cursor and its screen. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what they are
const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** A client of the monitor that sends bytes and sees the text, without what moves the cursor. */
export class MonitorClient {
  readonly socket: Socket;
  ended = false;
  readonly #prompt: string;
  #raw = "";
  #seen = 0;
  readonly #waiters = new Set<() => void>();

  private constructor(socket: Socket, prompt: string) {
    this.socket = socket;
    this.#prompt = prompt;
    socket.setEncoding("utf8").on("data", (text: string) => {
      this.#raw += text;
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => this.#end());
    socket.on("end", () => this.#end());
  }

  static async connect(path: string, prompt = "(qemu) "): Promise<MonitorClient> {
    const socket = connect(path);
    await new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new MonitorClient(socket, prompt);
  }

  /** All that it was shown. */
  get text(): string {
    return this.#raw.replaceAll(CONTROL_SEQUENCE, "");
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Waits for text behind what was waited for before; gives all up to its end. */
  async until(text: string): Promise<string> {
    for (;;) {
      const at = this.text.indexOf(text, this.#seen);
      if (at >= 0) {
        const from = this.#seen;
        this.#seen = at + text.length;
        return this.text.slice(from, this.#seen);
      }
      if (this.ended) throw new Error(`the monitor ended without ${text}: ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  /** Waits for the prompt. */
  prompt(): Promise<string> {
    return this.until(this.#prompt);
  }

  /** Sends a line and gives what is shown until the next prompt, with line feeds for line ends. */
  async ask(line: string): Promise<string> {
    this.send(`${line}\n`);
    await this.until(`${line}\r\n`);
    const text = await this.prompt();
    return text.slice(0, -this.#prompt.length).replaceAll("\r\n", "\n");
  }

  /** Resolves when the monitor has ended the connection. */
  async gone(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiters.add(resolve));
  }

  #end(): void {
    this.ended = true;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}
