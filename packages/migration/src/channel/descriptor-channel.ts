import { BatonError, type Fd, fstat, S_IFMT, S_IFREG, setNonblocking } from "@baton/linux";
import type { MappedBlock } from "../stream/page-block.js";
import {
  type Channel,
  type ChannelOptions,
  DEFAULT_TIMEOUT_MS,
  type MappedPagesMoved,
  type PageOptions,
  type PagesMoved,
  type PagesRead,
  type ReadPagesJob,
  type WritePagesJob,
} from "./channel.js";
import { ChannelThread } from "./channel-thread.js";
import type { ChannelRequest, ChannelTarget } from "./messages.js";

const READ_BYTES = 64 * 1024;

/** What is particular to a kind of channel. */
export interface ChannelEnds {
  /** The proper end; `run` has the channel's thread do something. */
  end?(run: (request: ChannelRequest) => Promise<unknown>, options: ChannelOptions): Promise<void>;
  /** Called once, after the descriptor is closed; `ended` says whether the proper end was reached. */
  close?(ended: boolean): Promise<void> | void;
}

/** A channel over a descriptor, which it owns, with a thread of its own. */
export class DescriptorChannel implements Channel {
  readonly address: string;
  readonly seekable: boolean;
  readonly #fd: Fd;
  readonly #thread: ChannelThread;
  readonly #ends: ChannelEnds;
  #position: number;
  #ended = false;
  #failed = false;
  #closing: Promise<void> | undefined;

  /** Starts at `position` of a regular file. `thread` is taken over where one is given. */
  constructor(fd: Fd, address: string, ends: ChannelEnds = {}, position = 0, thread?: ChannelThread) {
    this.address = address;
    this.#fd = fd;
    this.#ends = ends;
    this.#position = position;
    this.seekable = (fstat(fd).mode & S_IFMT) === S_IFREG;
    if (!this.seekable) setNonblocking(fd, true);
    this.#thread = thread ?? new ChannelThread();
  }

  get position(): number {
    return this.#position;
  }

  #target(options: ChannelOptions): ChannelTarget {
    const position = this.seekable ? this.#position : undefined;
    return {
      fd: this.#fd.raw,
      address: this.address,
      position,
      timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    };
  }

  async #run<T>(request: ChannelRequest, options: PageOptions = {}): Promise<T> {
    if (this.#closing) throw new BatonError("CHANNEL_CLOSED", `${this.address}: the channel is closed`);
    if (this.#failed) {
      throw new BatonError("CHANNEL_CLOSED", `${this.address}: an operation failed before`, {
        hint: "Close the channel",
      });
    }
    try {
      return await this.#thread.run<T>(this.#target(options), request, options);
    } catch (error) {
      // One that never started changed nothing.
      this.#failed = !BatonError.is(error, "CHANNEL_BUSY");
      throw error;
    }
  }

  /** Waits until its thread runs, so that what is moved then need not. */
  async started(options: ChannelOptions = {}): Promise<void> {
    await this.#run({ op: "start" }, options);
  }

  /** Waits until the connection stands. */
  async connected(options: ChannelOptions = {}): Promise<void> {
    await this.#run({ op: "connect" }, options);
  }

  async read(options: ChannelOptions = {}): Promise<Uint8Array> {
    const bytes = await this.#run<Uint8Array>({ op: "read", most: READ_BYTES }, options);
    this.#position += bytes.length;
    return bytes;
  }

  async write(bytes: Uint8Array, options: ChannelOptions = {}): Promise<void> {
    await this.#run({ op: "write", bytes }, options);
    this.#position += bytes.length;
  }

  seek(position: number): void {
    if (!this.seekable) {
      throw new BatonError("CHANNEL_NOT_SEEKABLE", `${this.address}: only a file has places to go to`);
    }
    this.#position = position;
  }

  async writePages(job: WritePagesJob, options: PageOptions = {}): Promise<PagesMoved> {
    const moved = await this.#run<PagesMoved>({ op: "write-pages", job }, options);
    this.#position += moved.bytes;
    return moved;
  }

  async readPages(job: ReadPagesJob, options: PageOptions = {}): Promise<PagesRead> {
    const read = await this.#run<PagesRead>({ op: "read-pages", job }, options);
    this.#position += read.bytes + read.ahead.length - job.ahead.length;
    return read;
  }

  async writeMappedPages(blocks: readonly MappedBlock[], options: PageOptions = {}): Promise<MappedPagesMoved> {
    this.seek(this.#position);
    return this.#run<MappedPagesMoved>({ op: "write-mapped", blocks }, options);
  }

  async readMappedPages(blocks: readonly MappedBlock[], options: PageOptions = {}): Promise<MappedPagesMoved> {
    this.seek(this.#position);
    return this.#run<MappedPagesMoved>({ op: "read-mapped", blocks }, options);
  }

  async end(options: ChannelOptions = {}): Promise<void> {
    if (this.#ended) return;
    await this.#ends.end?.((request) => this.#run(request, options), options);
    this.#ended = true;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#thread.close();
    this.#fd.close();
    await this.#ends.close?.(this.#ended);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
