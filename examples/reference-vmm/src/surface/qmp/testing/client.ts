import { connect, type Socket } from "node:net";

/** A message of a server, parsed. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into whatever the server said
export type Message = any;

/** A QMP client as raw as can be: sends bytes, receives lines. */
export class TestClient {
  readonly socket: Socket;
  /** Every line that has been received, without its end. */
  readonly lines: string[] = [];
  ended = false;
  #rest = "";
  #read = 0;
  readonly #waiters: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      const parts = (this.#rest + text).split("\r\n");
      this.#rest = parts.pop() as string;
      this.lines.push(...parts);
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => this.#end());
    socket.on("end", () => this.#end());
  }

  /** Connects to a path, or to a port of this host. */
  static async connect(address: string | number): Promise<TestClient> {
    const socket = typeof address === "string" ? connect(address) : connect(address, "127.0.0.1");
    await new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new TestClient(socket);
  }

  send(...messages: (object | string)[]): void {
    this.socket.write(messages.map((m) => (typeof m === "string" ? m : JSON.stringify(m))).join(""));
  }

  /** The next message; rejects where the connection ends before it. */
  async next(): Promise<Message> {
    while (this.lines.length <= this.#read) {
      if (this.ended) throw new Error("the server closed the connection");
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    return JSON.parse(this.lines[this.#read++] as string);
  }

  /** The next `count` messages. */
  async take(count: number): Promise<Message[]> {
    const messages: Message[] = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }

  /** Sends a command, passes by events, and gives the answer. */
  async execute(command: string, args?: object): Promise<Message> {
    this.send({ execute: command, ...(args && { arguments: args }) });
    for (;;) {
      const message = await this.next();
      if (!("event" in message)) return message;
    }
  }

  /** Resolves when the server has ended the connection, to all messages that were not taken. */
  async rest(): Promise<Message[]> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    return this.lines.slice(this.#read).map((line) => JSON.parse(line));
  }

  destroy(): void {
    this.socket.destroy();
  }

  #end(): void {
    this.ended = true;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
