import { createServer, type Server, type Socket } from "node:net";
import { BatonError, type Fd, localAddress, type SocketAddress } from "@baton/linux";
import type { CommandContext } from "../../command/command.js";
import { commandTable } from "../../command/table.js";
import type { SurfaceAddress } from "../../options/options.js";
import { type ListeningSocket, openListeningSocket } from "../listening-socket.js";
import { type QmpLogger, QmpSession } from "./session.js";
import { UnixClients } from "./unix-clients.js";

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
  /** Of a UNIX socket, once their thread has begun. */
  #clients: Promise<UnixClients> | undefined;
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
    const socket = await openListeningSocket(address, "QMP");
    const server = new QmpServer(address, context, logger, socket);
    if (address.kind === "unix") server.#serveUnix(socket.listener);
    else server.#accept();
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
      await this.#session?.close();
      await this.#clients?.then((clients) => clients.close()).catch(() => {});
      this.#listener?.close();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Takes clients of a UNIX socket, with the descriptors that they send. */
  #serveUnix(listener: Fd): void {
    const clients = UnixClients.start(listener, ({ input, output, descriptors }) => {
      const destroy = () => {
        input.destroy();
        output.destroy();
        // The connection is over when its other descriptor is closed too.
        void clients.then((all) => all.drop());
      };
      const session = new QmpSession({
        ...{ input, output, destroy, descriptors },
        ...{ context: this.#context, table: commandTable, logger: this.#logger },
      });
      this.#begin(session);
      void session.ended.then(async () => this.#closing ?? (await clients).next());
    });
    this.#clients = clients;
    clients.catch((error: Error) => this.#logger.warn(`QMP: cannot accept clients: ${error.message}`));
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
    this.#begin(session);
    void session.ended.then(() => this.#accept());
  }

  #begin(session: QmpSession): void {
    this.#session = session;
    this.#onConnected();
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
