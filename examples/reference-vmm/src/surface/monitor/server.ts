import { createServer, type Server, type Socket } from "node:net";
import { type Fd, isatty } from "@baton/linux";
import type { CommandContext } from "../../command/command.js";
import { HumanMonitor } from "../../command/monitor/human-monitor.js";
import { commandTable } from "../../command/table.js";
import type { SurfaceAddress } from "../../options/options.js";
import { type ListeningSocket, openListeningSocket } from "../listening-socket.js";
import { TerminalMode } from "../terminal-mode.js";
import { MonitorSession, type MonitorSessionOptions } from "./session.js";

/** What a monitor asks with unless it is told otherwise; existing scripts look for it. */
export const DEFAULT_PROMPT = "(qemu) ";

/** The most clients of one monitor at a time. */
const MAX_CLIENTS = 16;

/** Options of {@link MonitorServer.listen}. */
export interface MonitorServerOptions {
  readonly prompt?: string;
}

/**
 * A human monitor. Over a UNIX socket several clients of its owner are served at once, each with a line editor of its
 * own; over TCP anybody who reaches the port may do anything.
 */
export class MonitorServer {
  /** Resolves when the VM may start: at once, or with `wait` when the first client has come. */
  readonly connected: Promise<void>;
  readonly #context: CommandContext;
  readonly #prompt: string;
  readonly #socket: ListeningSocket | undefined;
  readonly #monitor = new HumanMonitor(commandTable);
  readonly #sessions = new Set<MonitorSession>();
  #acceptor: Server | undefined;
  #onConnected: () => void = () => {};
  #closing: Promise<void> | undefined;

  private constructor(context: CommandContext, prompt: string, wait: boolean, socket: ListeningSocket | undefined) {
    this.connected = new Promise((resolve) => {
      this.#onConnected = resolve;
    });
    if (!wait) this.#onConnected();
    this.#context = context;
    this.#prompt = prompt;
    this.#socket = socket;
  }

  /** Begins to serve. Errors: `SOCKET_IN_USE`, `SOCKET_PATH`, `MONITOR_LISTEN` where a TCP address cannot be had. */
  static async listen(
    address: SurfaceAddress,
    context: CommandContext,
    { prompt = DEFAULT_PROMPT }: MonitorServerOptions = {},
  ): Promise<MonitorServer> {
    const socket = address.kind === "stdio" ? undefined : await openListeningSocket(address, "monitor");
    const server = new MonitorServer(context, prompt, address.kind !== "stdio" && address.wait, socket);
    if (socket === undefined) server.#serveStdio();
    else server.#accept(socket.listener);
    return server;
  }

  /** Ends all sessions, stops listening and removes the socket's file. May be called again. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#socket?.removeFile();
      this.#acceptor?.close();
      this.#socket?.listener.close();
      await Promise.all([...this.#sessions].map((session) => session.close()));
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(listener: Fd): void {
    const acceptor = createServer({ allowHalfOpen: true }, (socket) => this.#serveSocket(socket));
    this.#acceptor = acceptor;
    acceptor.on("error", () => {});
    acceptor.listen({ fd: listener.dup().release(), exclusive: true });
  }

  #serveSocket(socket: Socket): void {
    socket.setNoDelay(true);
    if (this.#sessions.size >= MAX_CLIENTS) {
      socket.on("error", () => {});
      socket.end(`The monitor has ${MAX_CLIENTS} clients already\r\n`);
      return;
    }
    this.#serve({ input: socket, output: socket, destroy: () => socket.destroy() });
  }

  #serveStdio(): void {
    const { stdin, stdout } = process;
    const mode = isatty(0) ? new TerminalMode(() => session.refresh()) : undefined;
    const session: MonitorSession = this.#serve({
      input: stdin,
      output: stdout,
      destroy: () => {
        stdin.pause();
        mode?.close();
      },
      suspend: () => mode?.stop(),
      isTerminal: isatty(1),
    });
  }

  #serve(client: Omit<MonitorSessionOptions, "context" | "monitor" | "prompt">): MonitorSession {
    const shared = { context: this.#context, monitor: this.#monitor, prompt: this.#prompt };
    const session = new MonitorSession({ ...client, ...shared });
    this.#sessions.add(session);
    this.#onConnected();
    void session.ended.then(() => this.#sessions.delete(session));
    return session;
  }
}
