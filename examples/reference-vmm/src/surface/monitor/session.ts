import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { BatonError } from "@baton/linux";
import type { CommandContext, Connection } from "../../command/command.js";
import { type MonitorState, monitorState } from "../../command/monitor/form.js";
import type { HumanMonitor } from "../../command/monitor/human-monitor.js";
import { version } from "../../command/version.js";
import { complete } from "./completion.js";
import { Keys, pieceEnds, pieceLength } from "./keys.js";

/** What a session needs. */
export interface MonitorSessionOptions {
  readonly input: Readable;
  readonly output: Writable;
  readonly context: CommandContext;
  readonly monitor: HumanMonitor;
  readonly prompt: string;
  /** Ends both streams at once. */
  destroy(): void;
  /** Ctrl-Z was typed. */
  suspend?(): void;
  /** Whether a person looks on: then commands show how far they are. */
  readonly isTerminal?: boolean;
}

/** The longest line, QEMU's. */
export const MAX_LINE = 4095;
/** Input that may wait while a command runs, before the client is no longer read. */
const MAX_BACKLOG_BYTES = 64 << 10;
/** Output that may wait for the client, before what it typed is left to wait. */
const MAX_UNREAD_BYTES = 1 << 20;
/** How long a client may take to read the last lines when the session is ended. */
const FLUSH_TIMEOUT_MS = 1000;
const HISTORY = 100;
const CTRL_C = 3;
/** Erases the line from the cursor on. */
const CLEAR_TO_END = "\u001b[K";

/** One client of the human monitor: a line editor, and the lines carried out one after the other. */
export class MonitorSession implements Connection {
  /** Resolves when the client is gone and its last command is done. */
  readonly ended: Promise<void>;
  readonly #options: MonitorSessionOptions;
  readonly #state: MonitorState = monitorState();
  readonly #keys = new Keys();
  readonly #editor: Interface;
  readonly #abort = new AbortController();
  #command = new AbortController();
  #waiting: Uint8Array[] = [];
  #running: Promise<void> | undefined;
  #pumping = false;
  #tooLong = false;
  #showsProgress = false;
  #inputEnded = false;
  #closing: Promise<void> | undefined;
  #destroyed = false;
  #end: () => void = () => {};

  /** Greets the client and serves it. */
  constructor(options: MonitorSessionOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const { input, output, context, monitor, prompt } = options;
    output.write(`Baton ${version.package.replace("baton-", "")} monitor - type 'help' for more information\r\n`);
    this.#editor = createInterface({
      input: this.#keys.asInput(),
      output,
      terminal: true,
      prompt,
      historySize: HISTORY,
      crlfDelay: Number.POSITIVE_INFINITY,
      completer: (line: string) => complete(monitor, context, line),
    });
    this.#editor.on("line", (line) => this.#onLine(line));
    this.#editor.on("SIGINT", () => this.#cancelLine());
    this.#editor.on("SIGTSTP", () => options.suspend?.());
    this.#editor.once("close", () => void this.close());
    input.on("data", this.#onData);
    input.once("end", this.#onInputEnd);
    for (const stream of new Set([input, output])) {
      stream.on("error", this.#onLost);
      stream.once("close", this.#onLost);
    }
    this.#editor.prompt();
  }

  /** Shows the prompt and what has been typed anew. */
  refresh(): void {
    if (this.#running === undefined && !this.#destroyed) this.#editor.prompt(true);
  }

  /** Sends what waits, for a second at most, then ends the session. A command that waits is told to give up. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  readonly #onData = (chunk: Buffer) => {
    const interrupt = this.#running === undefined ? -1 : chunk.lastIndexOf(CTRL_C);
    if (interrupt >= 0) {
      this.#waiting = [];
      this.#command.abort(new BatonError("INTERRUPTED", "Interrupted"));
    }
    this.#waiting.push(interrupt < 0 ? chunk : chunk.subarray(interrupt + 1));
    if (this.#backlog > MAX_BACKLOG_BYTES) this.#options.input.pause();
    this.#pump();
  };

  readonly #onInputEnd = () => {
    this.#inputEnded = true;
    this.#pump();
  };

  /** The client is gone: what it has typed and has not begun is forgotten. */
  readonly #onLost = () => this.#destroy();

  get #backlog(): number {
    return this.#waiting.reduce((sum, { length }) => sum + length, 0);
  }

  get #over(): boolean {
    return this.#destroyed || this.#closing !== undefined;
  }

  /** Types what was received. Where the editor fails, the session ends and the VM goes on. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#typeAll()
      .catch(() => this.#destroy())
      .finally(() => {
        this.#pumping = false;
      });
  }

  /** Types as far as the editor is free for it and the client reads what it is told. */
  async #typeAll(): Promise<void> {
    for (;;) {
      const [first] = this.#waiting;
      if (this.#over || first === undefined) break;
      const length = pieceLength(first);
      if (length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(length);
      this.#type(first.subarray(0, length));
      await this.#running;
      await this.#drained();
    }
    if (this.#over) return;
    if (this.#inputEnded) await this.close();
    else this.#options.input.resume();
  }

  /** Types a piece; of a line that is too long only its end, so that the editor does not have to hold it. */
  #type(piece: Uint8Array): void {
    if (this.#tooLong && !pieceEnds(piece)) return;
    this.#keys.type(this.#tooLong ? piece.subarray(-1) : piece, this.#waiting.length > 0);
    if (this.#editor.line.length <= MAX_LINE) return;
    this.#tooLong = true;
    this.#editor.write(null, { ctrl: true, name: "u" });
  }

  #onLine(line: string): void {
    const tooLong = this.#tooLong || line.length > MAX_LINE;
    this.#tooLong = false;
    this.#running = this.#execute(tooLong ? undefined : line).then(() => {
      this.#running = undefined;
      if (this.#destroyed) this.#end();
      else if (this.#closing === undefined) this.#editor.prompt();
    });
  }

  /** Carries a line out; undefined stands for one that was too long. */
  async #execute(line: string | undefined): Promise<void> {
    if (line === undefined) {
      this.#show(`line too long: at most ${MAX_LINE} characters\n`);
      return;
    }
    const { context, monitor, isTerminal } = this.#options;
    this.#command = new AbortController();
    let after: ((connection: Connection) => void | Promise<void>) | undefined;
    const text = await monitor.execute(context, line, {
      signal: AbortSignal.any([this.#abort.signal, this.#command.signal]),
      monitor: this.#state,
      ...(isTerminal && { progress: (line: string) => this.#showProgress(line) }),
      afterReply: (work) => {
        after = work;
      },
    });
    this.#clearProgress();
    this.#show(text);
    try {
      await after?.(this);
    } catch (error) {
      this.#show(`Error: ${BatonError.from(error, "INTERNAL_ERROR").message}\n`);
    }
  }

  #show(text: string): void {
    if (text !== "" && !this.#destroyed) this.#options.output.write(text.replaceAll("\n", "\r\n"));
  }

  #showProgress(line: string): void {
    if (this.#destroyed) return;
    this.#showsProgress = true;
    this.#options.output.write(`\r${line}${CLEAR_TO_END}`);
  }

  #clearProgress(): void {
    if (this.#showsProgress && !this.#destroyed) this.#options.output.write(`\r${CLEAR_TO_END}`);
    this.#showsProgress = false;
  }

  /** Ctrl-C at the prompt: forgets what has been typed. */
  #cancelLine(): void {
    this.#editor.write(null, { ctrl: true, name: "e" });
    this.#options.output.write("^C\r\n");
    this.#editor.write(null, { ctrl: true, name: "u" });
    this.#tooLong = false;
  }

  /** Waits until the client has taken enough of what it was told, or the session ends. */
  async #drained(): Promise<void> {
    const { output } = this.#options;
    while (output.writableLength > MAX_UNREAD_BYTES && !this.#over) {
      const waited = new AbortController();
      const signal = AbortSignal.any([this.#abort.signal, waited.signal]);
      const gone = () => {};
      await Promise.race([once(output, "drain", { signal }), once(output, "close", { signal })]).catch(gone);
      waited.abort();
    }
  }

  async #close(): Promise<void> {
    this.#abort.abort(new BatonError("CONNECTION_CLOSED", "The monitor is closing"));
    if (!this.#destroyed) await this.#flush();
    this.#destroy();
  }

  async #flush(): Promise<void> {
    const { input, output } = this.#options;
    input.off("data", this.#onData);
    input.resume();
    if (!output.writable) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FLUSH_TIMEOUT_MS);
      output.write("", () => resolve());
    });
    clearTimeout(timer);
  }

  #destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    const { input, output } = this.#options;
    input.off("data", this.#onData);
    input.off("end", this.#onInputEnd);
    this.#waiting = [];
    this.#editor.close();
    this.#options.destroy();
    for (const stream of new Set([input, output])) stream.off("close", this.#onLost);
    if (this.#running === undefined) this.#end();
  }
}
