import type { Channel, ChannelOptions, PageProgress } from "../channel/channel.js";
import { STREAM_PAGE_SIZE } from "./format.js";
import type { StreamProgress } from "./progress.js";
import type { StreamRam } from "./ram-list.js";
import { StreamInput } from "./stream-input.js";
import {
  type ReadMapped,
  type ReadPages,
  type ReadStreamContents,
  type StreamContents,
  StreamReader,
} from "./stream-reader.js";

/** Limits of reading a stream. */
export interface ReadStreamOptions extends ChannelOptions {
  readonly onProgress?: ((progress: StreamProgress) => void) | undefined;
}

/** What was read, and how much. */
export interface ReadStreamResult extends StreamContents, StreamProgress {}

const BUFFER_BYTES = 64 * 1024;

class StreamRun {
  readonly #channel: Channel;
  readonly #ram: readonly StreamRam[];
  readonly #options: ReadStreamOptions;
  readonly #input: StreamInput;
  readonly #startedAt = performance.now();
  #bytes = 0;
  #pages = 0;
  #zeroPages = 0;

  constructor(channel: Channel, ram: readonly StreamRam[], options: ReadStreamOptions) {
    this.#channel = channel;
    this.#ram = ram.filter(({ ignored }) => !ignored);
    this.#options = options;
    this.#input = new StreamInput(BUFFER_BYTES, channel.position);
  }

  #progress(moving: PageProgress = { bytes: 0, pages: 0, zeroPages: 0 }): StreamProgress {
    return {
      bytes: this.#bytes + moving.bytes,
      pages: this.#pages + moving.pages,
      zeroPages: this.#zeroPages + moving.zeroPages,
      totalPages: this.#ram.reduce((sum, { block }) => sum + Number(block.size) / STREAM_PAGE_SIZE, 0),
      durationMs: performance.now() - this.#startedAt,
    };
  }

  async run(contents: ReadStreamContents): Promise<ReadStreamResult> {
    const steps = new StreamReader(this.#input, contents).read();
    for (;;) {
      const step = steps.next();
      if (step.done) {
        this.#options.onProgress?.(this.#progress());
        return { ...step.value, ...this.#progress() };
      }
      const request = step.value;
      switch (request.kind) {
        case "bytes": {
          const bytes = await this.#channel.read(this.#options);
          this.#bytes += bytes.length;
          this.#input.append(bytes);
          break;
        }
        case "seek":
          this.#channel.seek(request.position);
          this.#input.jump(request.position);
          break;
        case "pages":
          await this.#readPages(request);
          break;
        case "mapped":
          await this.#readMapped(request);
          break;
        default:
          throw request satisfies never;
      }
    }
  }

  #pageOptions() {
    const { onProgress } = this.#options;
    return {
      ...this.#options,
      onProgress: onProgress && ((moving: PageProgress) => onProgress(this.#progress(moving))),
    };
  }

  async #readPages(request: ReadPages): Promise<void> {
    const input = this.#input;
    const { offset } = input;
    const { blocks, pageCrc, continued } = request;
    const job = { blocks, pageCrc, continued, ahead: input.peek().slice(), offset, streamCrc: input.crc };
    const read = await this.#channel.readPages(job, this.#pageOptions());
    this.#count(read, read.bytes + read.ahead.length - job.ahead.length);
    input.jump(offset + read.bytes, read.streamCrc);
    if (read.ahead.length > 0) input.append(read.ahead);
    request.result = read;
  }

  async #readMapped(request: ReadMapped): Promise<void> {
    const read = await this.#channel.readMappedPages(request.blocks, this.#pageOptions());
    this.#count(read, read.bytes);
    request.result = read.blocks;
  }

  #count({ pages, zeroPages }: PageProgress, bytes: number): void {
    this.#bytes += bytes;
    this.#pages += pages;
    this.#zeroPages += zeroPages;
  }
}

/**
 * Reads QEMU's main migration stream into RAM and states. States are returned when everything has been read and every
 * checksum fits; RAM holds what came until then, so that nothing may run on it when this fails. The memory stays mapped
 * until the promise settles. Throws `STREAM_*` with section and byte, `VmstateError`, and the channel's errors.
 */
export async function readStream(
  channel: Channel,
  contents: ReadStreamContents,
  options: ReadStreamOptions = {},
): Promise<ReadStreamResult> {
  return new StreamRun(channel, contents.ram, options).run(contents);
}
