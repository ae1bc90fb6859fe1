import { connect, type Socket } from "node:net";
import { until } from "./until.js";

const CHUNK = 8192;
/** Bytes that may be on their way there and back. */
const WINDOW = 256 * 1024;

/** A stream to a guest that echoes it, through a vsock device's UNIX socket; every byte is checked. */
export class VsockStream {
  readonly #socket: Socket;
  sent = 0;
  received = 0;
  #problem: string | undefined;
  #stopping = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => this.#check(bytes));
    socket.on("error", (error) => this.#fail(error.message));
    socket.on("end", () => this.#fail("the guest ended it"));
    socket.on("drain", () => this.#pump());
    this.#pump();
  }

  /** Connects to a port of the guest, and begins to send. */
  static async open(path: string, port: number): Promise<VsockStream> {
    const socket = connect(path);
    const answer = await new Promise<string>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("close", () => reject(new Error(`port ${port} was refused`)));
      // The guest's first bytes may not come before it was sent some.
      socket.once("data", (bytes: Buffer) => resolve(bytes.toString()));
      socket.write(`CONNECT ${port}\n`);
    });
    if (!/^OK \d+\n$/.test(answer)) throw new Error(`answered ${JSON.stringify(answer)}`);
    socket.removeAllListeners();
    return new VsockStream(socket);
  }

  /** Stops sending and waits until everything has come back. */
  async settle(): Promise<void> {
    this.#stopping = true;
    await until(() => {
      if (this.#problem !== undefined) throw new Error(`the stream to the guest: ${this.#problem}`);
      return this.received === this.sent;
    }, `the echo of ${this.sent} bytes`);
  }

  close(): void {
    this.#stopping = true;
    this.#socket.removeAllListeners();
    this.#socket.on("error", () => {});
    this.#socket.destroy();
  }

  #pump(): void {
    while (!this.#stopping && this.sent - this.received < WINDOW) {
      const bytes = new Uint8Array(CHUNK);
      for (let i = 0; i < CHUNK; i++) bytes[i] = byteAt(this.sent + i);
      this.sent += CHUNK;
      if (!this.#socket.write(bytes)) return;
    }
  }

  #check(bytes: Buffer): void {
    for (const byte of bytes) {
      if (byte !== byteAt(this.received++)) {
        this.#fail(`byte ${this.received - 1} is ${byte}`);
        return;
      }
    }
    this.#pump();
  }

  #fail(problem: string): void {
    if (!this.#stopping) this.#problem ??= problem;
  }
}

function byteAt(position: number): number {
  return (position * 7 + (position >>> 8)) & 0xff;
}
