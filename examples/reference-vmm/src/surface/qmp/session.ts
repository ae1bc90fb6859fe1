import type { Readable, Writable } from "node:stream";
import { BatonError } from "@baton/linux";
import type { ClientDescriptors } from "../../command/client-descriptors.js";
import type { CommandContext, Connection } from "../../command/command.js";
import type { CommandTable } from "../../command/command-table.js";
import { monitorEvent } from "../../command/event-table.js";
import type { TimedVmEvent } from "../../events.js";
import { type JsonValue, parseJson } from "./json-parser.js";
import { errorLine, eventLine, greetingLine, returnLine } from "./lines.js";
import { MessageScanner } from "./message-scanner.js";
import { Outbox, type OutboxLimits, outboxLimits } from "./outbox.js";
import { readRequest, requestId } from "./request.js";

/** Where notices for the operator go. */
export interface QmpLogger {
  warn(message: string): void;
}

/** What a session needs. */
export interface SessionOptions {
  readonly input: Readable;
  readonly output: Writable;
  /** Ends both streams at once. */
  readonly destroy: () => void;
  readonly context: CommandContext;
  readonly table: CommandTable;
  /** What the client sends beside its commands, where the connection carries that. */
  readonly descriptors?: ClientDescriptors;
  readonly logger: QmpLogger;
  readonly limits?: OutboxLimits;
}

/** Input that may wait while a command runs, before the client is no longer read. */
const MAX_BACKLOG_BYTES = 64 << 10;
/** Answers that may wait for the client, before its next command is left to wait. */
const MAX_UNREAD_BYTES = 1 << 20;
/** How long a client may take to read the last lines when the connection is ended. */
const FLUSH_TIMEOUT_MS = 1000;

/** One client of QMP, from its greeting to its end. Commands are carried out one after the other. */
export class QmpSession implements Connection {
  /** Resolves when the client is gone and its last command is done. */
  readonly ended: Promise<void>;
  readonly #options: SessionOptions;
  readonly #outbox: Outbox;
  readonly #scanner = new MessageScanner();
  readonly #abort = new AbortController();
  readonly #forgetEvents: () => void;
  #running: Promise<void> | undefined;
  #eventsWanted = false;
  #inputEnded = false;
  #closing: Promise<void> | undefined;
  #destroyed = false;
  #end: () => void = () => {};

  /** Greets the client and serves it. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const { input, output, context } = options;
    this.#outbox = new Outbox(output, options.limits ?? outboxLimits, () => {
      options.logger.warn("QMP: the client does not read its answers; disconnected");
      this.#destroy();
    });
    this.#forgetEvents = context.vm.onEvent((event) => this.#onEvent(event));
    input.on("data", this.#onData);
    input.once("end", this.#onInputEnd);
    for (const stream of new Set([input, output])) {
      stream.on("error", this.#onLost);
      stream.once("close", this.#onLost);
    }
    this.#outbox.reply(greetingLine());
  }

  /** How many events the client was too slow for. */
  get droppedEvents(): number {
    return this.#outbox.dropped;
  }

  /** Sends what waits, for a second at most, then ends the connection. A command that waits is told to give up. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  readonly #onData = (chunk: Uint8Array) => {
    this.#scanner.push(chunk);
    if (this.#scanner.backlog > MAX_BACKLOG_BYTES) this.#options.input.pause();
    this.#run();
  };

  readonly #onInputEnd = () => {
    this.#inputEnded = true;
    this.#run();
  };

  /** The client is gone: what it has asked for and has not begun is forgotten. */
  readonly #onLost = () => this.#destroy();

  #onEvent(event: TimedVmEvent): void {
    if (!this.#eventsWanted) return;
    const described = monitorEvent(event);
    if (described !== null) this.#outbox.event(eventLine(described));
  }

  #run(): void {
    this.#running ??= this.#serve().finally(() => {
      this.#running = undefined;
      if (this.#destroyed) this.#end();
    });
  }

  /** Carries out what has been received, in order. */
  async #serve(): Promise<void> {
    for (;;) {
      const message = this.#closing === undefined && !this.#destroyed ? this.#scanner.next() : undefined;
      if (message === undefined) break;
      if (message.kind === "error") this.#outbox.reply(errorLine(message.error, undefined));
      else await this.#execute(message.bytes);
      await this.#outbox.drained(MAX_UNREAD_BYTES);
    }
    if (this.#closing !== undefined || this.#destroyed) return;
    if (this.#inputEnded) await this.close();
    else this.#options.input.resume();
  }

  async #execute(bytes: Uint8Array): Promise<void> {
    const { context, table, descriptors } = this.#options;
    let id: JsonValue | undefined;
    let after: ((connection: Connection) => void | Promise<void>) | undefined;
    let isFirstNegotiation = false;
    try {
      const message = parseJson(bytes);
      id = requestId(message);
      const request = readRequest(message);
      isFirstNegotiation = !this.#eventsWanted && request.command === "qmp_capabilities";
      if (!isFirstNegotiation) this.#eventsWanted = true;
      const result = await table.execute(context, request.command, request.arguments, {
        signal: this.#abort.signal,
        ...(descriptors && { descriptors }),
        afterReply: (work) => {
          after = work;
        },
      });
      this.#outbox.reply(returnLine(result, id));
    } catch (error) {
      this.#outbox.reply(errorLine(error, id));
    }
    if (isFirstNegotiation) this.#eventsWanted = true;
    await this.#followUp(after);
  }

  async #followUp(work: ((connection: Connection) => void | Promise<void>) | undefined): Promise<void> {
    try {
      await work?.(this);
    } catch (error) {
      this.#options.logger.warn(`QMP: ${BatonError.from(error, "INTERNAL_ERROR").message}`);
    }
  }

  async #close(): Promise<void> {
    this.#forgetEvents();
    this.#abort.abort(new BatonError("CONNECTION_CLOSED", "The QMP server is closing"));
    if (!this.#destroyed) await this.#flush();
    this.#destroy();
  }

  /** Waits until the client has been handed all lines; what it sends meanwhile is dropped. */
  async #flush(): Promise<void> {
    const { input } = this.#options;
    input.off("data", this.#onData);
    input.resume();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FLUSH_TIMEOUT_MS);
    });
    await Promise.race([this.#outbox.flush(), late]);
    clearTimeout(timer);
  }

  #destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#forgetEvents();
    const { input, output, logger } = this.#options;
    input.off("data", this.#onData);
    input.off("end", this.#onInputEnd);
    if (this.#outbox.dropped > 0) {
      logger.warn(`QMP: ${this.#outbox.dropped} events were dropped: the client did not read them`);
    }
    this.#outbox.close();
    this.#options.destroy();
    for (const stream of new Set([input, output])) stream.off("close", this.#onLost);
    if (this.#running === undefined) this.#end();
  }
}
