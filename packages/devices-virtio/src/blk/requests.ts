import { EAGAIN, ECANCELED, EINTR, EINVAL, EOPNOTSUPP } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import { RateLimit } from "../device/rate-limit.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { answerRequest, answerRun } from "./answer.js";
import { SECTOR } from "./config.js";
import { hostError } from "./host-error.js";
import type { ImageRing } from "./image/ring.js";
import { type BlkOperations, type Outcome, REFUSED, UNSUPPORTED } from "./operations.js";
import type { BlkDeviceOptions } from "./options.js";
import {
  HEADER_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from "./request.js";
import { TransferRun } from "./transfer-run.js";

/** A request that an error of the host has stopped with the VM. */
export interface HeldRequest {
  readonly queue: VirtQueue;
  readonly chain: Chain;
}

/** Requests served before other devices have their turn. */
const BUDGET = 64;
/** Pieces of memory of a run that is carried out beside the thread: as many as the driver may give one request, and more. */
const PIECES = 256;

/** Results that say nothing of the disk: the request is carried out in the thread, where the rules are others. */
const NOT_THERE: ReadonlySet<number> = new Set([EINVAL, EAGAIN, EINTR, ECANCELED, EOPNOTSUPP]);

const TYPES = { read: VIRTIO_BLK_T_IN, write: VIRTIO_BLK_T_OUT, flush: VIRTIO_BLK_T_FLUSH } as const;

/**
 * Takes requests from the queues and answers them. Without a ring each is carried out when it is taken. With one reads,
 * writes and flushes are under way in the kernel between two calls, until {@link BlkRequests.drain}.
 */
export class BlkRequests {
  readonly #context: VirtioDeviceContext;
  readonly #options: BlkDeviceOptions;
  readonly #operations: BlkOperations;
  readonly #ring: ImageRing | undefined;
  readonly #limit: RateLimit;
  /** Of the header read last. */
  #sector = 0;
  /** Runs by token. */
  readonly #runs: TransferRun[] = [];
  readonly #freeRuns: TransferRun[] = [];
  /** What is being gathered. */
  #run: TransferRun;
  #queues: readonly VirtQueue[] = [];
  #held: HeldRequest[] = [];
  /** Queues that were answered since the last look at interrupts. */
  readonly #answered = new Set<VirtQueue>();
  /** An error has stopped the VM: nothing is served until it is resumed. */
  #stopped = false;
  #waitsForRoom = false;
  /** What ends is not answered any more. */
  #dropping = false;

  constructor(
    context: VirtioDeviceContext,
    options: BlkDeviceOptions,
    operations: BlkOperations,
    ring: ImageRing | undefined,
  ) {
    this.#context = context;
    this.#options = options;
    this.#operations = operations;
    this.#ring = ring;
    this.#limit = new RateLimit(options.limits, context, () => this.#goOn());
    this.#run = this.#freeRun();
  }

  /** Takes the queues into use, with requests that wait for {@link BlkRequests.resume}. */
  start(queues: readonly VirtQueue[], held: readonly HeldRequest[]): void {
    this.#queues = queues;
    this.#held = [...held];
  }

  /** Requests that wait for {@link BlkRequests.resume}. */
  get held(): readonly HeldRequest[] {
    return this.#held;
  }

  /** Serves a queue for a bounded time; true when it has taken all that there was. */
  notify(queue: VirtQueue): boolean {
    if (this.#stopped) return false;
    this.#run.clear();
    let taken: "all" | "budget" | "waits";
    let carriedOut: boolean;
    try {
      taken = this.#take(queue);
      carriedOut = this.#carryOut(queue);
    } finally {
      this.#ring?.submit();
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    if (taken === "budget" && carriedOut) this.#context.again(queue.index);
    return taken === "all" && carriedOut;
  }

  /** Answers what has ended beside the thread. */
  reap(): void {
    this.#ring?.reap((token, result) => this.#end(this.#runs[token] as TransferRun, result));
    this.#interrupt();
    if (!this.#waitsForRoom || this.#ring?.room === 0) return;
    this.#waitsForRoom = false;
    this.#goOn();
  }

  /** Waits until nothing is under way, and answers it. */
  drain(): void {
    const ring = this.#ring;
    while (ring !== undefined && ring.underWay > 0) {
      ring.wait();
      this.reap();
    }
  }

  /** Ends all I/O and answers it; what had to wait for its turn stays in the queues. */
  quiesce(): void {
    this.drain();
    this.#limit.stop();
  }

  /** Goes on after a stop, first with what the error had held. */
  resume(): void {
    this.#stopped = false;
    this.#goOn();
  }

  /** Waits until nothing is under way, and forgets what the driver gave. */
  reset(): void {
    this.#waitsForRoom = false;
    this.#dropping = true;
    try {
      this.drain();
    } finally {
      this.#dropping = false;
    }
    this.#queues = [];
    this.#held = [];
    this.#stopped = false;
    this.#run.clear();
    this.#limit.stop();
  }

  /** Answers with an error what one of the host's has held. */
  abandon(): void {
    for (const { queue, chain } of this.#held.splice(0)) {
      answerRequest(queue, chain, this.#parse(queue, chain), VIRTIO_BLK_S_IOERR);
      this.#answered.add(queue);
    }
    this.#interrupt();
  }

  close(): void {
    this.reset();
    this.#limit.close();
  }

  #freeRun(): TransferRun {
    const free = this.#freeRuns.pop();
    if (free !== undefined) return free;
    const run = new TransferRun(this.#runs.length, this.#ring === undefined ? undefined : PIECES);
    this.#runs.push(run);
    return run;
  }

  /** Serves what had to wait. */
  #goOn(): void {
    if (this.#stopped) return;
    this.#run.clear();
    const through = this.#serveHeld();
    this.#ring?.submit();
    this.#interrupt();
    if (through) for (const queue of this.#queues) if (queue.ready) this.#context.again(queue.index);
  }

  /** Carries out what an error had held, each by itself; false if some of it has to wait again. */
  #serveHeld(): boolean {
    while (this.#held.length > 0) {
      if (this.#stopped || !this.#hasRoom()) return false;
      // Taken off first: to carry it out may end in serving others.
      const first = this.#held.shift() as HeldRequest;
      const { queue, chain } = first;
      const type = this.#parse(queue, chain);
      const transfer = this.#transfer(type, chain);
      const outcome =
        typeof transfer === "number"
          ? this.#operations.move(chain, type === VIRTIO_BLK_T_IN ? "read" : "write", this.#sector * SECTOR, transfer)
          : (transfer ?? this.#perform(queue, type, chain));
      this.#answered.add(queue);
      if (outcome === "under way") continue;
      if (outcome === "later" || !this.#answer(queue, chain, type, outcome)) {
        this.#held.unshift(first);
        return false;
      }
    }
    return true;
  }

  /** Shows the driver what was answered, and tells it where it wants to know. */
  #interrupt(): void {
    for (const queue of this.#answered) {
      this.#guard(() => queue.publishDone());
      if (queue.needsNotification()) this.#context.interrupt(queue.index);
    }
    this.#answered.clear();
  }

  /** For what is done outside of a turn of the queue's own: a rule that the driver broke makes the device need a reset. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.#context.needsReset(error);
    }
  }

  /** Takes requests and answers or begins them, but for a last run of transfers: how far it came. */
  #take(queue: VirtQueue): "all" | "budget" | "waits" {
    for (let budget = BUDGET; budget > 0; budget--) {
      if (this.#stopped || !this.#hasRoom()) return "waits";
      const chain = queue.pop();
      if (chain === null) return "all";
      const type = this.#parse(queue, chain);
      const transfer = this.#transfer(type, chain);
      if (transfer === "later") {
        queue.unpop(chain);
        return "waits";
      }
      const zeroes =
        type === VIRTIO_BLK_T_OUT && typeof transfer === "number" && this.#operations.isZero(chain, transfer);
      if (typeof transfer === "number" && !zeroes) {
        const operation = type === VIRTIO_BLK_T_IN ? "read" : "write";
        const offset = this.#sector * SECTOR;
        if (this.#run.add(chain, operation, offset, transfer)) continue;
        if (!this.#carryOut(queue, chain)) return "waits";
        this.#run.add(chain, operation, offset, transfer);
        continue;
      }
      if (!this.#carryOut(queue, chain)) return "waits";
      const outcome =
        typeof transfer === "number" ? this.#writeZeroes(transfer) : (transfer ?? this.#perform(queue, type, chain));
      if (outcome === "under way") continue;
      if (outcome === "later" || !this.#answer(queue, chain, type, outcome)) {
        queue.unpop(chain);
        return "waits";
      }
    }
    return "budget";
  }

  /** Whether one more request may begin, beside the run that is being gathered. */
  #hasRoom(): boolean {
    if (this.#ring === undefined) return true;
    const room = this.#ring.room - (this.#run.transfers.length > 0 ? 1 : 0);
    if (room === 0) this.#waitsForRoom = true;
    return room > 0;
  }

  /** Reads a request's header: its type; `#sector` is where. */
  #parse(queue: VirtQueue, chain: Chain): number {
    if (chain.readableLength < HEADER_BYTES || chain.writableLength < 1) {
      this.#carryOut(queue);
      throw new QueueError(
        queue.index,
        "request",
        chain.id,
        "a block request has no header, or no place for the status",
      );
    }
    this.#sector = chain.readU32(8) + chain.readU32(12) * 2 ** 32;
    return chain.readU32(0);
  }

  /** The bytes that a read or write moves, or why it does not; undefined for other requests. */
  #transfer(type: number, chain: Chain): number | Outcome | "later" | undefined {
    let length: number;
    let sound: boolean;
    if (type === VIRTIO_BLK_T_IN) {
      length = chain.writableLength - 1;
      sound = chain.readableLength === HEADER_BYTES;
    } else if (type === VIRTIO_BLK_T_OUT) {
      length = chain.readableLength - HEADER_BYTES;
      sound = chain.writableLength === 1 && !this.#options.readOnly;
    } else return undefined;
    if (!sound || !this.#operations.inRange(this.#sector, length)) return REFUSED;
    return this.#limit.take(length) ? length : "later";
  }

  /** Begins the run, or carries it out and answers it; false if it has to wait, with all that was popped after it: `next`. */
  #carryOut(queue: VirtQueue, next?: Chain): boolean {
    const run = this.#run;
    const { transfers, operation } = run;
    if (transfers.length === 0) return true;
    if (this.#ring !== undefined && run.whole) {
      this.#begin(this.#ring, queue);
      return true;
    }
    if (run.whole && this.#operations.moveRun(run)) {
      answerRun(queue, run);
      queue.publishDone();
      run.clear();
      return true;
    }
    // One by one, for those that can be done, and for the error of each that cannot.
    let offset = run.offset;
    for (const [index, { chain, length }] of transfers.entries()) {
      const outcome = this.#operations.move(chain, operation === "read" ? "read" : "write", offset, length);
      if (!this.#answer(queue, chain, TYPES[operation], outcome)) {
        if (next !== undefined) queue.unpop(next);
        for (const { chain } of transfers.slice(index).reverse()) queue.unpop(chain);
        run.clear();
        return false;
      }
      offset += length;
    }
    run.clear();
    return true;
  }

  /** Has the ring carry out the run when it is submitted; another one is gathered from now on. */
  #begin(ring: ImageRing, queue: VirtQueue): void {
    const run = this.#run;
    run.queue = queue;
    run.startedAt = performance.now();
    const { operation, iov, vector, offset, token } = run;
    if (operation === "read") ring.read(iov, vector.count, offset, token);
    else if (operation === "write") ring.write(iov, vector.count, offset, !this.#operations.writeback, token);
    else ring.flush(token);
    this.#run = this.#freeRun();
  }

  /** A run under way has ended. */
  #end(run: TransferRun, result: number): void {
    if (this.#dropping) drop(run);
    else this.#guard(() => this.#finish(run, run.queue as VirtQueue, result));
    run.clear();
    this.#freeRuns.push(run);
  }

  #finish(run: TransferRun, queue: VirtQueue, result: number): void {
    const { operation, transfers } = run;
    this.#answered.add(queue);
    const timeNs = (performance.now() - run.startedAt) * 1e6;
    if (result === run.length) {
      this.#operations.statistics.countRun(operation, transfers, timeNs);
      answerRun(queue, run);
      return;
    }
    let failed: Outcome | undefined;
    if (transfers.length === 1 && result < 0 && !NOT_THERE.has(-result)) {
      failed = { errno: -result };
      this.#operations.statistics.count(operation, run.length, false, timeNs);
    }
    let offset = run.offset;
    for (const [index, { chain, length }] of transfers.entries()) {
      const outcome = failed ?? this.#redo(operation, chain, offset, length);
      if (!this.#answer(queue, chain, TYPES[operation], outcome)) {
        this.#held.push(...transfers.slice(index).map((transfer) => ({ queue, chain: transfer.chain })));
        return;
      }
      offset += length;
    }
  }

  /** Carries out in the thread what did not succeed beside it, or only in part. */
  #redo(operation: TransferRun["operation"], chain: Chain, offset: number, length: number): Outcome {
    return operation === "flush" ? this.#operations.flush() : this.#operations.move(chain, operation, offset, length);
  }

  /** Answers a request, and tells the embedder of an error; false if that has it wait. */
  #answer(queue: VirtQueue, chain: Chain, type: number, outcome: Outcome): boolean {
    if ("status" in outcome) {
      answerRequest(queue, chain, type, outcome.status);
      return true;
    }
    const { action, event } = hostError(this.#options, type, outcome.errno);
    this.#context.emit(event);
    if (action === "stop") {
      this.#stopped = true;
      return false;
    }
    answerRequest(queue, chain, type, action === "ignore" ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
    return true;
  }

  #perform(queue: VirtQueue, type: number, chain: Chain): Outcome | "later" | "under way" {
    switch (type) {
      case VIRTIO_BLK_T_FLUSH:
        if (this.#ring === undefined || this.#options.readOnly) return this.#operations.flush();
        this.#run.flush(chain);
        this.#begin(this.#ring, queue);
        return "under way";
      case VIRTIO_BLK_T_GET_ID:
        return this.#operations.identify(chain);
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES: {
        const discard = type === VIRTIO_BLK_T_DISCARD;
        const ranges = this.#operations.ranges(chain, discard);
        if (!Array.isArray(ranges)) return ranges as Outcome;
        if (!this.#limit.take(0)) return "later";
        this.drain();
        return this.#operations.clear(ranges, discard);
      }
      default:
        return UNSUPPORTED;
    }
  }

  #writeZeroes(length: number): Outcome {
    const offset = this.#sector * SECTOR;
    this.drain();
    return this.#operations.writeZeroes(offset, length);
  }
}

/** The kernel has written memory, though nobody is told of it. */
function drop({ operation, transfers }: TransferRun): void {
  if (operation === "read") for (const { chain, length } of transfers) chain.markWritten(0, length);
}
