/**
 * The block of shared memory through which a vCPU's thread and the rest of the process talk while the thread is in
 * `KVM_RUN` and cannot take messages. All words are accessed with Atomics.
 */
export const word = {
  /** Bits of {@link request}: what the thread shall do. */
  request: 0,
  /** The thread's kernel id, for tgkill. */
  tid: 1,
  /** Counts pauses asked for; echoed in the answer, so that a late answer is not taken for a new one. */
  pauseSequence: 2,
  /** One of {@link stopPoint}: where the last pause found the vCPU. */
  stopPoint: 3,
  /** One of {@link mailbox}. */
  mailbox: 4,
  /** The access in the mailbox: number of the bus device, 1 for a write, width, count, offset (low and high half). */
  device: 5,
  isWrite: 6,
  size: 7,
  count: 8,
  offset: 9,
  address: 10,
  space: 11,
  /** Counts changes of {@link request} from outside: what a paused thread waits on, since a request may come back unseen. */
  changes: 12,
} as const;

/** Bits of the request word. */
export const request = { pause: 1, stop: 2 } as const;

/** States of the mailbox that carries an access to another thread. */
export const mailbox = { idle: 0, asked: 1, answered: 2, failed: 3 } as const;

/** What a vCPU was doing when a pause reached it. */
export const stopPoint = {
  guest: 0,
  ioIn: 1,
  ioOut: 2,
  repOut: 3,
  mmio: 4,
  mmioCrossing: 5,
  forwardedIn: 6,
  other: 7,
} as const;

/** Names of the stop points, by number. */
export const stopPointNames = Object.keys(stopPoint) as readonly (keyof typeof stopPoint)[];

const WORDS_BYTES = 128;
const COUNTERS_BYTES = 128;
/** The most bytes that one exit carries: a page of string I/O. */
export const MAILBOX_DATA_BYTES = 4096;

/**
 * Why vCPUs leave the guest, as far as that is counted: the reasons of `VcpuExit`, and `other` for the rest of them. The
 * place in the list is the number of the counter.
 */
export const exitReasons = [
  "io-in",
  "io-out",
  "mmio-read",
  "mmio-write",
  "interrupted",
  "hlt",
  "shutdown",
  "debug",
  "system-event",
  "fail-entry",
  "internal-error",
  "other",
] as const;

/** One of {@link exitReasons}. */
export type ExitReason = (typeof exitReasons)[number];

/** Counters that only the vCPU's thread writes; the first are those of {@link exitReasons}. */
export const counter = {
  ioIn: 0,
  ioOut: 1,
  mmioRead: 2,
  mmioWrite: 3,
  interrupted: 4,
  forwarded: exitReasons.length,
  unclaimed: exitReasons.length + 1,
} as const;

/** The number of the counter for a reason. */
export function exitCounter(reason: string): number {
  const index = (exitReasons as readonly string[]).indexOf(reason);
  return index < 0 ? exitReasons.indexOf("other") : index;
}

/** Views of a control block. */
export interface ControlViews {
  readonly words: Int32Array;
  readonly counters: Float64Array;
  /** Bytes of the access in the mailbox, elements side by side, little-endian. */
  readonly data: Uint8Array;
}

/** Makes a control block. */
export function createControl(): SharedArrayBuffer {
  return new SharedArrayBuffer(WORDS_BYTES + COUNTERS_BYTES + MAILBOX_DATA_BYTES);
}

/** Views of a control block made elsewhere. */
export function controlViews(buffer: SharedArrayBuffer): ControlViews {
  return {
    words: new Int32Array(buffer, 0, WORDS_BYTES / 4),
    counters: new Float64Array(buffer, WORDS_BYTES, COUNTERS_BYTES / 8),
    data: new Uint8Array(buffer, WORDS_BYTES + COUNTERS_BYTES, MAILBOX_DATA_BYTES),
  };
}
