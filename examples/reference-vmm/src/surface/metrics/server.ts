import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { BatonError } from "@baton/linux";
import type { MetricsAddress } from "../../options/options.js";
import { type SampledVm, sampleStatistics } from "../../statistics/sample.js";
import { type ListeningSocket, openListeningSocket } from "../listening-socket.js";
import { METRICS_TYPE, renderMetrics } from "./text.js";

/** The most clients at a time; more are disconnected. */
const MAX_CLIENTS = 16;
const MAX_HEADER_BYTES = 8192;
/** How long a client may take for a request, and for reading the answer. */
const CLIENT_TIMEOUT_MS = 5000;
const CHECK_MS = 1000;

/** Limits of {@link MetricsServer.listen}. */
export interface MetricsServerOptions {
  /** How long a client may be silent; 5,000 ms unless given. */
  readonly timeoutMs?: number;
}

/**
 * Serves a VM's statistics to Prometheus: `GET /metrics` by HTTP over a UNIX socket of the owner alone. Clients that are
 * slow, silent or too many are disconnected; those that ask together share one sample.
 */
export class MetricsServer {
  readonly #vm: SampledVm;
  readonly #socket: ListeningSocket;
  readonly #server: Server;
  #sample: Promise<string> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(vm: SampledVm, socket: ListeningSocket, timeoutMs: number) {
    this.#vm = vm;
    this.#socket = socket;
    const limits = { headersTimeout: timeoutMs, requestTimeout: timeoutMs, keepAliveTimeout: timeoutMs };
    this.#server = createServer(
      { ...limits, maxHeaderSize: MAX_HEADER_BYTES, connectionsCheckingInterval: Math.min(CHECK_MS, timeoutMs) },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CLIENTS;
    this.#server.setTimeout(timeoutMs);
    this.#server.on("error", () => {});
    this.#server.listen({ fd: socket.listener.dup().release(), exclusive: true });
  }

  /** Begins to serve. Errors: `SOCKET_IN_USE`, `SOCKET_PATH`. */
  static async listen(
    address: MetricsAddress,
    vm: SampledVm,
    { timeoutMs = CLIENT_TIMEOUT_MS }: MetricsServerOptions = {},
  ): Promise<MetricsServer> {
    return new MetricsServer(vm, await openListeningSocket({ ...address, wait: false }, "metrics"), timeoutMs);
  }

  /** Disconnects all clients, stops listening and removes the socket's file. May be called again. */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#socket.removeFile();
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
      this.#socket.listener.close();
    });
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => {});
    const refuse = (status: number, text: string) => {
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" }).end(text);
    };
    if (url?.split("?")[0] !== "/metrics") return refuse(404, "Only /metrics is here\n");
    if (method !== "GET" && method !== "HEAD") return refuse(405, "Only GET is answered\n");
    try {
      const text = await this.#take();
      response.writeHead(200, { "content-type": METRICS_TYPE, "content-length": Buffer.byteLength(text) }).end(text);
    } catch (error) {
      refuse(503, `${BatonError.from(error, "METRICS").message}\n`);
    }
  }

  /** One sample for all who ask while it is taken. */
  #take(): Promise<string> {
    this.#sample ??= sampleStatistics(this.#vm)
      .then((subjects) => renderMetrics(subjects, this.#vm.config.name))
      .finally(() => {
        this.#sample = undefined;
      });
    return this.#sample;
  }
}
