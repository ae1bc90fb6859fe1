import { createServer, type Server, type Socket } from "node:net";
import { BatonError, type Fd, localAddress, type SocketAddress } from "@baton/linux";
import type { CommandContext } from "../../command/command.js";
import { commandTable } from "../../command/table.js";
import type { SurfaceAddress } from "../../options/options.js";
import { type ListeningSocket, openListeningSocket } from "../listening-socket.js";
import { type QmpLogger, QmpSession } from "./session.js";

const silent: QmpLogger = { warn: () => {} };

/**
 * A QMP server. It serves one client at a time, as QEMU does; others wait in the socket's backlog until it leaves.
 * Over a UNIX socket only its owner may connect; over TCP anybody who reaches the port may do anything.
 */
export class QmpServer {
  /**
   * Resolves when the VM may start: at once, or with `wait` when the first client has been greeted. Rejects with
   * `QMP_CLOSED` where the server is closed before.
   */
  readonly connected: Promise<void>;
  readonly #context: CommandContext;
  readonly #logger: QmpLogger;
  readonly #listener: Fd | undefined;
  readonly #removeSocketFile: () => void;
  #acceptor: Server | undefined;
  #session: QmpSession | undefined;
  #onConnected: () => void = () => {};
  #onNeverConnected: (error: BatonError) => void = () => {};
  #closing: Promise<void> | undefined;

  private constructor(
    address: SurfaceAddress,
    context: CommandContext,
    logger: QmpLogger,
    socket: ListeningSocket | undefined,
  ) {
    this.#context = context;
    this.#logger = logger;
    this.#listener = socket?.listener;
    this.#removeSocketFile = () => socket?.removeFile();
    const waits = address.kind !== "stdio" && address.wait;
    this.connected = waits
      ? new Promise((resolve, reject) => {
          this.#onConnected = resolve;
          this.#onNeverConnected = reject;
        })
      : Promise.resolve();
    // Nobody has to wait for it.
    this.connected.catch(() => {});
  }

  /**
   * Begins to listen. Errors: `SOCKET_IN_USE`, `SOCKET_PATH`, `QMP_LISTEN` where a TCP address cannot be had.
   */
  static async listen(
    address: SurfaceAddress,
    context: CommandContext,
    logger: QmpLogger = silent,
  ): Promise<QmpServer> {
    if (address.kind === "stdio") {
      const server = new QmpServer(address, context, logger, undefined);
      server.#serveStdio();
      return server;
    }
    const server = new QmpServer(address, context, logger, await openListeningSocket(address, "QMP"));
    server.#accept();
    return server;
  }

  /** Where it listens: with port 0, the port that was chosen. */
  get address(): SocketAddress | null {
    return this.#listener === undefined || this.#listener.closed ? null : localAddress(this.#listener);
  }

  /** Sends the client what waits, disconnects it, stops listening and removes the socket's file. May be called again. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#onNeverConnected(new BatonError("QMP_CLOSED", "The QMP server was closed before a client came"));
      this.#removeSocketFile();
      this.#acceptor?.close();
      this.#listener?.close();
      await this.#session?.close();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Takes the next client; nobody else is accepted before it has left. */
  #accept(): void {
    if (this.#closing !== undefined || this.#listener === undefined) return;
    const acceptor = createServer({ allowHalfOpen: true });
    this.#acceptor = acceptor;
    acceptor.once("connection", (socket) => {
      acceptor.close();
      this.#serveSocket(socket);
    });
    acceptor.on("error", (error) => this.#logger.warn(`QMP: cannot accept clients: ${error.message}`));
    acceptor.listen({ fd: this.#listener.dup().release(), exclusive: true });
  }

  #serveSocket(socket: Socket): void {
    socket.setNoDelay(true);
    const session = new QmpSession({
      input: socket,
      output: socket,
      destroy: () => socket.destroy(),
      context: this.#context,
      table: commandTable,
      logger: this.#logger,
    });
    this.#session = session;
    this.#onConnected();
    void session.ended.then(() => this.#accept());
  }

  #serveStdio(): void {
    const { stdin, stdout } = process;
    this.#session = new QmpSession({
      input: stdin,
      output: stdout,
      destroy: () => stdin.pause(),
      context: this.#context,
      table: commandTable,
      logger: this.#logger,
    });
  }
}
