import type { BlockCount, MappedBlock, PageBlock } from "../stream/page-block.js";

/** Limits of one operation on a channel. */
export interface ChannelOptions {
  /** Ends the operation, and with it the channel: what was under way is half done. Rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** The longest time without a byte moving, in ms, before `CHANNEL_TIMEOUT`; 30 seconds unless given. */
  readonly timeoutMs?: number | undefined;
}

/** How far pages have been moved. */
export interface PageProgress {
  /** Bytes that went over the channel. */
  readonly bytes: number;
  /** Pages that went with their content. */
  readonly pages: number;
  /** Pages of which only was said that they are zero. */
  readonly zeroPages: number;
}

/** Limits of moving pages. */
export interface PageOptions extends ChannelOptions {
  /** Told some times a second. */
  readonly onProgress?: ((progress: PageProgress) => void) | undefined;
}

/** RAM to write as records of pages. The memory stays mapped until the promise settles. */
export interface WritePagesJob {
  readonly blocks: readonly PageBlock[];
  /** Checksums so far: over the stream without pages, and over pages. */
  readonly streamCrc: number;
  readonly pageCrc: number;
}

/** RAM to fill from records of pages, up to the end of the section. The memory stays mapped until the promise settles. */
export interface ReadPagesJob extends WritePagesJob {
  /** Bytes that were read ahead of the records. */
  readonly ahead: Uint8Array;
  /** Where those start in the stream. */
  readonly offset: number;
  /** The block of the record before, in an earlier section. */
  readonly continued: string | undefined;
}

/** What moving pages came to. */
export interface PagesMoved extends PageProgress {
  readonly streamCrc: number;
  readonly pageCrc: number;
  readonly blocks: readonly BlockCount[];
}

/** What reading pages came to. */
export interface PagesRead extends PagesMoved {
  /** Bytes that were read past the section's end. */
  readonly ahead: Uint8Array;
  readonly continued: string | undefined;
}

/** What moving mapped pages came to. */
export interface MappedPagesMoved extends PageProgress {
  readonly blocks: readonly (BlockCount & { readonly bitmapCrc: number; readonly pagesCrc: number })[];
}

/**
 * A way for a stream's bytes. One operation at a time. No operation blocks the calling thread. After a failed one only
 * `close` is left. Errors name {@link Channel.address}: `CHANNEL_TIMEOUT`, `CHANNEL_PEER_CLOSED` (the peer died or went
 * away before the end), `CHANNEL_DISK_FULL`, `CHANNEL_IO`, `CHANNEL_CLOSED`.
 */
export interface Channel {
  /** As in `unix:/run/vm.sock`. */
  readonly address: string;
  /** Whether {@link Channel.seek} and mapped pages are to be had. */
  readonly seekable: boolean;
  /** Where the next byte is read or written, in bytes: in the file if there is one, else since the beginning. */
  readonly position: number;
  /** Some bytes, at most 64 KiB; none at the end. */
  read(options?: ChannelOptions): Promise<Uint8Array>;
  /** Resolves when the channel has taken all of them. */
  write(bytes: Uint8Array, options?: ChannelOptions): Promise<void>;
  /** Goes elsewhere in the file. Throws `CHANNEL_NOT_SEEKABLE`. */
  seek(position: number): void;
  /** Writes pages straight from memory, with a record before each. */
  writePages(job: WritePagesJob, options?: PageOptions): Promise<PagesMoved>;
  /** Reads records of pages into memory. */
  readPages(job: ReadPagesJob, options?: PageOptions): Promise<PagesRead>;
  /** Writes bitmaps and pages at their places in the file. */
  writeMappedPages(blocks: readonly MappedBlock[], options?: PageOptions): Promise<MappedPagesMoved>;
  /** Reads bitmaps and pages from their places in the file. */
  readMappedPages(blocks: readonly MappedBlock[], options?: PageOptions): Promise<MappedPagesMoved>;
  /**
   * The proper end of what is written: a file is durable and has its name, a peer has taken everything, a command
   * has ended well. The reader ends with {@link Channel.close}.
   */
  end(options?: ChannelOptions): Promise<void>;
  /** Gives everything back; without `end` before, a file that was being written is removed. A second call does nothing. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A place where peers connect to. */
export interface ChannelListener {
  /** With the port that was found where 0 was asked for. */
  readonly address: string;
  /** The next connection. */
  accept(options?: ChannelOptions): Promise<Channel>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The longest time without a byte moving, in ms, unless another is given. */
export const DEFAULT_TIMEOUT_MS = 30_000;
