import { IoVector } from "@baton/linux";
import type { Chain } from "../queue/chain.js";
import { HEADER_BYTES } from "./request.js";

/** The most bytes of a run, unless one request has more: what stays in a processor's cache. */
const MAX_BYTES = 256 << 10;

/** A read or a write of a run. */
export interface Transfer {
  readonly chain: Chain;
  readonly length: number;
}

/** Reads or writes that follow each other in the queue and on the disk: one system call moves them all. */
export class TransferRun {
  readonly vector = new IoVector();
  readonly transfers: Transfer[] = [];
  reads = false;
  /** In bytes. */
  offset = 0;
  #end = 0;
  /** Whether the vector has all of it: not where one request is of more pieces than a call takes. */
  #whole = true;

  get whole(): boolean {
    return this.#whole;
  }

  clear(): void {
    this.vector.clear();
    this.transfers.length = 0;
    this.#whole = true;
  }

  /** Adds a request if it goes on where the run ends. An empty run takes any. */
  add(chain: Chain, reads: boolean, offset: number, length: number): boolean {
    const { vector, transfers } = this;
    const before = vector.byteLength;
    const first = transfers.length === 0;
    if (first) {
      this.reads = reads;
      this.offset = offset;
    } else if (!this.#whole || reads !== this.reads || offset !== this.#end || before + length > MAX_BYTES)
      return false;
    const gathered = reads
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
}
