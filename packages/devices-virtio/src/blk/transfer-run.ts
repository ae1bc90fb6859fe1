import { addressOf, IoVector } from "@baton/linux";
import type { Chain } from "../queue/chain.js";
import type { VirtQueue } from "../queue/queue.js";
import { HEADER_BYTES } from "./request.js";

/** The most bytes of a run, unless one request has more: what stays in a processor's cache. */
const MAX_BYTES = 128 << 10;

/** A read or a write of a run. */
export interface Transfer {
  readonly chain: Chain;
  readonly length: number;
}

/** Reads or writes that follow each other in the queue and on the disk: one system call moves them all. */
export class TransferRun {
  /** What a ring knows it by. */
  readonly token: number;
  readonly vector: IoVector;
  /** Where the vector's pieces stand packed. */
  readonly iov: number;
  readonly transfers: Transfer[] = [];
  /** A flush is a run of one that moves nothing. */
  operation: "read" | "write" | "flush" = "read";
  /** In bytes. */
  offset = 0;
  /** Where it came from, once it is under way. */
  queue: VirtQueue | undefined;
  /** When it was begun, in ms. */
  startedAt = 0;
  #end = 0;
  /** Whether the vector has all of it: not where one request is of more pieces than it takes. */
  #whole = true;

  /** Has room for `capacity` pieces of memory; as many as a call takes unless given. */
  constructor(token = 0, capacity?: number) {
    this.token = token;
    this.vector = new IoVector(capacity);
    this.iov = Number(addressOf(this.vector.words));
  }

  get whole(): boolean {
    return this.#whole;
  }

  /** Bytes to be moved. */
  get length(): number {
    return this.#end - this.offset;
  }

  clear(): void {
    this.vector.clear();
    this.transfers.length = 0;
    this.queue = undefined;
    this.offset = 0;
    this.#end = 0;
    this.#whole = true;
  }

  /** Adds a request if it goes on where the run ends. An empty run takes any. */
  add(chain: Chain, operation: "read" | "write", offset: number, length: number): boolean {
    const { vector, transfers } = this;
    const before = vector.byteLength;
    const first = transfers.length === 0;
    if (first) {
      this.operation = operation;
      this.offset = offset;
    } else if (!this.#whole || operation !== this.operation || offset !== this.#end || before + length > MAX_BYTES)
      return false;
    const gathered =
      operation === "read"
        ? chain.gatherWritable(vector, 0, length)
        : chain.gatherReadable(vector, HEADER_BYTES, length);
    if (gathered < length) {
      if (!first) {
        vector.truncate(before);
        return false;
      }
      this.#whole = false;
    }
    transfers.push({ chain, length });
    this.#end = offset + length;
    return true;
  }

  /** Makes an empty run a flush. */
  flush(chain: Chain): void {
    this.operation = "flush";
    this.transfers.push({ chain, length: 0 });
  }
}
