import { BatonError } from "@baton/linux";
import type { MappedBlock } from "../stream/page-block.js";
import type { ReadPagesJob, WritePagesJob } from "./channel.js";

/** What the main thread asks of a channel's thread. */
export type ChannelRequest =
  | { readonly op: "start" }
  | { readonly op: "connect" }
  | { readonly op: "accept" }
  | { readonly op: "read"; readonly most: number }
  | { readonly op: "write"; readonly bytes: Uint8Array }
  | { readonly op: "sync" }
  | { readonly op: "await-end" }
  | { readonly op: "write-pages"; readonly job: WritePagesJob }
  | { readonly op: "read-pages"; readonly job: ReadPagesJob }
  | { readonly op: "write-mapped"; readonly blocks: readonly MappedBlock[] }
  | { readonly op: "read-mapped"; readonly blocks: readonly MappedBlock[] };

/** The descriptor that a request is about. */
export interface ChannelTarget {
  readonly fd: number;
  readonly address: string;
  /** Where to read or write in a file; none for what has no places. */
  readonly position: number | undefined;
  readonly timeoutMs: number;
}

/** A request as it is sent. */
export interface ChannelTask {
  readonly id: number;
  readonly target: ChannelTarget;
  readonly request: ChannelRequest;
}

/** What a thread is started with. */
export interface ChannelThreadData {
  /** Becomes readable when the task is cancelled. */
  readonly cancelFd: number;
  /** {@link CANCELLED} in its first word then. */
  readonly control: Int32Array;
  /** Bytes, pages and zero pages so far. */
  readonly progress: Float64Array;
}

/** The word of {@link ChannelThreadData.control}. */
export const CANCELLED = 1;

/** An error as it travels between threads. */
export interface ReportedError {
  readonly code: string;
  readonly message: string;
  readonly syscall?: string | undefined;
  readonly errno?: number | undefined;
  readonly errnoName?: string | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** The answer to a request. */
export type ChannelReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly cancelled: true }
  | { readonly id: number; readonly error: ReportedError };

/** Makes an error fit to travel. */
export function reportError(error: unknown): ReportedError {
  const { code, message, syscall, errno, errnoName, details } = BatonError.from(error, "CHANNEL_IO");
  return { code, message, syscall, errno, errnoName, details: { ...details } };
}

/** The error that travelled. */
export function restoreError(reported: ReportedError): BatonError {
  const { code, message, ...options } = reported;
  return new BatonError(code, message, options);
}
