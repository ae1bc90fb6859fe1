import { BatonError, throwIfAborted, view } from "@baton/linux";
import { STREAM_PAGE_SIZE } from "../stream/format.js";
import { readPageRecords } from "../stream/page-reader.js";
import { writePageRecords } from "../stream/page-writer.js";
import { RamTarget } from "../stream/ram-target.js";
import { StreamInput } from "../stream/stream-input.js";
import {
  type Channel,
  type ChannelOptions,
  DEFAULT_TIMEOUT_MS,
  type PageOptions,
  type PagesMoved,
  type PagesRead,
  type ReadPagesJob,
  type WritePagesJob,
} from "./channel.js";

/** A writer waits while more than this has not been read, in bytes. */
const ROOM = 2 ** 20;
const READ_BYTES = 64 * 1024;

/** One direction of a pair. */
class Pipe {
  readonly #chunks: Uint8Array[] = [];
  readonly #waiters = new Set<() => void>();
  bytes = 0;
  ended = false;
  /** One side went away before the end. */
  broken = false;

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.bytes += bytes.length;
    this.changed();
  }

  take(): Uint8Array {
    const first = this.#chunks.shift() as Uint8Array;
    if (first.length > READ_BYTES) this.#chunks.unshift(first.subarray(READ_BYTES));
    const taken = first.subarray(0, READ_BYTES);
    this.bytes -= taken.length;
    this.changed();
    return taken;
  }

  changed(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /** Waits until `ready`. */
  wait(address: string, ready: () => boolean, { signal, timeoutMs = DEFAULT_TIMEOUT_MS }: ChannelOptions) {
    throwIfAborted(signal);
    if (ready()) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        signal?.removeEventListener("abort", abort);
        act();
      };
      const look = () => {
        if (ready()) settle(resolve);
      };
      const abort = () => settle(() => reject(signal?.reason));
      const late = () =>
        settle(() =>
          reject(
            new BatonError("CHANNEL_TIMEOUT", `${address}: nothing happens on the other side for ${timeoutMs} ms`),
          ),
        );
      const timer = setTimeout(late, timeoutMs);
      this.#waiters.add(look);
      signal?.addEventListener("abort", abort);
    });
  }
}

class InMemoryChannel implements Channel {
  readonly address: string;
  readonly seekable = false;
  position = 0;
  readonly #in: Pipe;
  readonly #out: Pipe;
  #closed = false;

  constructor(address: string, input: Pipe, output: Pipe) {
    this.address = address;
    this.#in = input;
    this.#out = output;
  }

  #check(): void {
    if (this.#closed) throw new BatonError("CHANNEL_CLOSED", `${this.address}: the channel is closed`);
  }

  async read(options: ChannelOptions = {}): Promise<Uint8Array> {
    this.#check();
    const pipe = this.#in;
    await pipe.wait(this.address, () => pipe.bytes > 0 || pipe.ended || pipe.broken, options);
    const bytes = pipe.bytes > 0 ? pipe.take() : new Uint8Array();
    this.position += bytes.length;
    return bytes;
  }

  async write(bytes: Uint8Array, options: ChannelOptions = {}): Promise<void> {
    this.#check();
    const pipe = this.#out;
    await pipe.wait(this.address, () => pipe.bytes <= ROOM || pipe.broken, options);
    if (pipe.broken) throw new BatonError("CHANNEL_PEER_CLOSED", `${this.address}: the other side went away`);
    if (bytes.length > 0) pipe.push(new Uint8Array(bytes));
    this.position += bytes.length;
  }

  seek(): void {
    throw new BatonError("CHANNEL_NOT_SEEKABLE", `${this.address}: only a file has places to go to`);
  }

  async writePages(job: WritePagesJob, options: PageOptions = {}): Promise<PagesMoved> {
    const records = writePageRecords(job, new Float64Array(3), READ_BYTES / STREAM_PAGE_SIZE);
    for (;;) {
      const step = records.next();
      if (step.done) return step.value;
      for (const { address, length } of step.value.pieces()) {
        await this.write(new Uint8Array(view(BigInt(address), length)), options);
      }
    }
  }

  async readPages(job: ReadPagesJob, options: PageOptions = {}): Promise<PagesRead> {
    const input = new StreamInput(2 * READ_BYTES, job.offset, job.streamCrc);
    if (job.ahead.length > 0) input.append(job.ahead);
    const target = new RamTarget(job.blocks, job.pageCrc);
    const records = readPageRecords(input, target, job.continued);
    for (;;) {
      const step = records.next();
      if (!step.done) {
        input.append(await this.read(options));
        continue;
      }
      const blocks = target.finish();
      return {
        bytes: input.offset - job.offset,
        pages: target.pages,
        zeroPages: target.zeroPages,
        streamCrc: input.crc,
        pageCrc: target.pageCrc,
        blocks,
        ahead: input.peek().slice(),
        continued: step.value,
      };
    }
  }

  writeMappedPages(): Promise<never> {
    return Promise.reject(this.#noPlaces());
  }

  readMappedPages(): Promise<never> {
    return Promise.reject(this.#noPlaces());
  }

  #noPlaces(): BatonError {
    return new BatonError("CHANNEL_NOT_SEEKABLE", `${this.address}: only a file has places for mapped pages`);
  }

  async end(options: ChannelOptions = {}): Promise<void> {
    const pipe = this.#out;
    pipe.ended = true;
    pipe.changed();
    await pipe.wait(this.address, () => pipe.bytes === 0 || pipe.broken, options);
    if (pipe.bytes > 0) throw new BatonError("CHANNEL_PEER_CLOSED", `${this.address}: the other side went away`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const pipe of [this.#in, this.#out]) {
      pipe.broken = true;
      pipe.changed();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Two ends of a channel within this thread, for tests: what one writes the other reads. */
export function inMemoryChannels(name = "in-memory"): [Channel, Channel] {
  const there = new Pipe();
  const back = new Pipe();
  return [new InMemoryChannel(`${name}:0`, back, there), new InMemoryChannel(`${name}:1`, there, back)];
}
