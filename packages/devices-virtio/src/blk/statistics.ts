import type { BlkOperation } from "./request.js";

/** Figures of one kind of request. */
export interface BlkOperationStatistics {
  readonly operations: number;
  readonly bytes: number;
  readonly failed: number;
  /** Operations that were carried out with the one before, by one system call. */
  readonly merged: number;
  readonly totalTimeNs: number;
}

/** What a block device has done since it was made. */
export type BlkStatisticsSnapshot = Readonly<Record<BlkOperation, BlkOperationStatistics>>;

type Mutable = { -readonly [K in keyof BlkOperationStatistics]: number };

/** Counts requests by kind. */
export class BlkStatistics {
  readonly #kinds: Readonly<Record<BlkOperation, Mutable>> = {
    read: none(),
    write: none(),
    flush: none(),
    discard: none(),
    "write-zeroes": none(),
  };

  count(operation: BlkOperation, bytes: number, ok: boolean, timeNs: number): void {
    const kind = this.#kinds[operation];
    kind.totalTimeNs += timeNs;
    if (ok) {
      kind.operations++;
      kind.bytes += bytes;
    } else kind.failed++;
  }

  /** Counts requests that one system call has carried out. */
  countRun(operation: "read" | "write" | "flush", run: readonly { readonly length: number }[], timeNs: number): void {
    const kind = this.#kinds[operation];
    for (const { length } of run) kind.bytes += length;
    kind.operations += run.length;
    kind.merged += run.length - 1;
    // Each has taken as long as all of them.
    kind.totalTimeNs += timeNs * run.length;
  }

  save(): BlkStatisticsSnapshot {
    return structuredClone(this.#kinds);
  }
}

function none(): Mutable {
  return { operations: 0, bytes: 0, failed: 0, merged: 0, totalTimeNs: 0 };
}
