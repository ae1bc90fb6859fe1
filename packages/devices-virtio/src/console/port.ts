import { EAGAIN, IoVector } from "@baton/linux";
import type { CharEndpoint } from "../chardev/backend.js";
import { CharChannel } from "../chardev/channel.js";
import type { VirtioDeviceContext } from "../device/device.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import type { ConsolePortState } from "./state.js";

/** What a port is made with. */
export interface ConsolePortOptions {
  readonly id: string;
  /** Its number on the device. */
  readonly nr: number;
  /** What the guest finds it by; none where it is empty. */
  readonly name: string;
  readonly console: boolean;
  /** The back end's name in queries. */
  readonly label: string;
  /** What the back end stands on, for queries. */
  readonly filename: string;
  readonly endpoint: CharEndpoint;
}

/** What `command("ports")` tells of each port. */
export interface ConsolePortInfo {
  readonly id: string;
  readonly nr: number;
  readonly name: string;
  readonly console: boolean;
  readonly label: string;
  readonly filename: string;
  /** Whether somebody is at the other side of the back end. */
  readonly connected: boolean;
  /** Whether a program in the guest has it open. */
  readonly open: boolean;
  /** 0 where nobody has said. */
  readonly columns: number;
  readonly rows: number;
}

/** Buffers served before other devices have their turn. */
const BUDGET = 32;
/** Bytes written before they have. */
const BYTE_BUDGET = 1 << 21;
/** The most bytes that are read into one buffer at once. */
const MAX_READ = 1 << 16;

/** One port of a console device: a pair of queues, and the channel behind it. */
export class ConsolePort {
  readonly options: ConsolePortOptions;
  readonly channel: CharChannel;
  /** The driver has said that it is ready for messages about the port. */
  ready = false;
  /** A program in the guest has it open. */
  open = false;
  /** What the driver was told last: whether somebody is there. */
  told = false;
  columns = 0;
  rows = 0;
  /** Bytes of the driver's next buffer that have been written already. */
  #offset = 0;
  readonly #context: VirtioDeviceContext;
  readonly #vector = new IoVector();
  #receive: VirtQueue | undefined;
  #transmit: VirtQueue | undefined;
  /** Input waits for a buffer of the driver. */
  #starved = false;

  constructor(context: VirtioDeviceContext, options: ConsolePortOptions, onConnection: (connected: boolean) => void) {
    this.#context = context;
    this.options = options;
    this.channel = new CharChannel(context, options.endpoint, {
      onReadable: () => this.#read(),
      onWritable: () => {
        if (this.#transmit?.ready) context.again(this.#transmit.index);
      },
      onConnection,
    });
  }

  get info(): ConsolePortInfo {
    const { endpoint: _, ...options } = this.options;
    return { ...options, connected: this.channel.connected, open: this.open, columns: this.columns, rows: this.rows };
  }

  save(): ConsolePortState {
    const { ready, open, told, columns, rows } = this;
    return { nr: this.options.nr, ready, open, told, columns, rows, offset: this.#offset };
  }

  /** Takes a state that has been checked. */
  load({ ready, open, told, columns, rows, offset }: ConsolePortState): void {
    Object.assign(this, { ready, open, told, columns, rows });
    this.#offset = offset;
  }

  /** Takes its queues into use. */
  start(receive: VirtQueue | undefined, transmit: VirtQueue | undefined): void {
    this.#receive = receive;
    this.#transmit = transmit;
    this.#starved = false;
    this.admitInput();
  }

  /** Drops all that the driver gave it. */
  reset(): void {
    this.#receive = this.#transmit = undefined;
    this.ready = this.open = this.told = this.#starved = false;
    this.#offset = 0;
    this.admitInput();
  }

  /** Decides what becomes of input: it is for a program that has the port open, and for buffers that the driver gives. */
  admitInput(): void {
    if (!this.open || !this.#receive?.ready) this.channel.setInput("refused");
    else this.channel.setInput(this.#starved ? "held" : "taken");
  }

  /** The driver has given buffers for input. */
  supply(): void {
    this.#starved = false;
    this.admitInput();
  }

  /** Writes what the driver has sent: false where it left some. */
  transmit(queue: VirtQueue): boolean {
    let all = false;
    let blocked = false;
    let bytes = BYTE_BUDGET;
    for (let budget = BUDGET; budget > 0 && bytes > 0 && !blocked; budget--) {
      const chain = queue.pop();
      all = chain === null;
      if (chain === null) break;
      const { readableLength } = chain;
      // The driver may have put another buffer there.
      this.#offset = Math.min(this.#offset, readableLength);
      while (this.#offset < readableLength && bytes > 0 && !blocked) {
        this.#vector.clear();
        chain.gatherReadable(
          this.#vector,
          this.#offset,
          Math.min(readableLength - this.#offset, this.channel.writeLimit),
        );
        const written = this.channel.write(this.#vector);
        blocked = written === -EAGAIN;
        if (blocked) break;
        this.#offset += written;
        bytes -= written;
      }
      if (this.#offset < readableLength) {
        queue.unpop(chain);
        break;
      }
      this.#offset = 0;
      queue.push(chain, 0);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    if (!all && !blocked) this.#context.again(queue.index);
    return all;
  }

  /** Reads into the driver's buffers; epoll calls again where there is more. */
  #read(): void {
    const queue = this.#receive;
    if (queue === undefined || !queue.ready) return;
    for (let budget = BUDGET; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === null) {
        if (queue.setNotification(true)) continue;
        this.#starved = true;
        break;
      }
      if (chain.writableLength === 0) {
        throw new QueueError(queue.index, "request", chain.id, "a buffer for input cannot be written");
      }
      this.#vector.clear();
      chain.gatherWritable(this.#vector, 0, Math.min(chain.writableLength, MAX_READ));
      const count = this.channel.read(this.#vector);
      if (count === 0) {
        queue.unpop(chain);
        queue.setNotification(false);
        break;
      }
      queue.push(chain, count);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    this.admitInput();
  }
}
