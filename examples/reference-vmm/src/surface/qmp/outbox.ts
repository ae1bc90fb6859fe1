import type { Writable } from "node:stream";

/** How much may wait for a client that does not read. */
export interface OutboxLimits {
  /** Events beyond this number push out the oldest. */
  readonly events: number;
  /** Bytes beyond this end the connection. */
  readonly bytes: number;
}

/** The limits of a QMP connection. */
export const outboxLimits: OutboxLimits = { events: 1024, bytes: 16 << 20 };

interface Item {
  readonly line: string;
  readonly isEvent: boolean;
}

/** Lines on their way to a client, in order. Answers are never dropped; events are, oldest first, if the client is slow. */
export class Outbox {
  readonly #output: Writable;
  readonly #limits: OutboxLimits;
  readonly #onOverflow: () => void;
  #items: Item[] = [];
  #events = 0;
  #queuedBytes = 0;
  #dropped = 0;
  #blocked = false;
  #closed = false;
  readonly #waiters = new Set<() => void>();

  /** `onOverflow` is called where the client has to be given up. */
  constructor(output: Writable, limits: OutboxLimits, onOverflow: () => void) {
    this.#output = output;
    this.#limits = limits;
    this.#onOverflow = onOverflow;
    output.on("drain", this.#onDrain);
  }

  /** Bytes (of ASCII) that the client has not taken yet. */
  get bytes(): number {
    return this.#queuedBytes + this.#output.writableLength;
  }

  /** How many events have been dropped. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Sends an answer. */
  reply(line: string): void {
    this.#add({ line, isEvent: false });
    if (this.bytes > this.#limits.bytes && !this.#closed) this.#onOverflow();
  }

  /** Sends an event; where too many wait already, the oldest of them is dropped. */
  event(line: string): void {
    this.#add({ line, isEvent: true });
    if (this.#events <= this.#limits.events) return;
    const oldest = this.#items.findIndex((item) => item.isEvent);
    const [dropped] = this.#items.splice(oldest, 1);
    this.#events--;
    this.#dropped++;
    this.#queuedBytes -= dropped?.line.length ?? 0;
  }

  /** Resolves when at most `bytes` wait, or when there is nobody left to wait for. */
  async drained(bytes: number): Promise<void> {
    while (this.bytes > bytes && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
  }

  /** Hands everything to the stream, and resolves when the kernel has it or the stream is gone. */
  async flush(): Promise<void> {
    this.#blocked = false;
    this.#write();
    if (!this.#output.writable) return;
    await new Promise<void>((resolve) => {
      this.#output.write("", () => resolve());
    });
  }

  /** Ends it; nothing is sent any more. */
  close(): void {
    this.#closed = true;
    this.#items = [];
    this.#events = 0;
    this.#queuedBytes = 0;
    this.#output.off("drain", this.#onDrain);
    this.#wake();
  }

  #add(item: Item): void {
    if (this.#closed) return;
    this.#items.push(item);
    this.#queuedBytes += item.line.length;
    if (item.isEvent) this.#events++;
    this.#write();
  }

  /** Hands lines to the stream in one piece, as long as it takes them. */
  #write(): void {
    if (this.#blocked || this.#items.length === 0 || !this.#output.writable) return;
    const text = this.#items.map((item) => item.line).join("");
    this.#items = [];
    this.#events = 0;
    this.#queuedBytes = 0;
    this.#blocked = !this.#output.write(text, "latin1");
  }

  readonly #onDrain = () => {
    this.#blocked = false;
    this.#write();
    this.#wake();
  };

  #wake(): void {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}
