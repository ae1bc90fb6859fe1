import { drainEventfd, EPOLLIN, type Fd, timerfdCreate, timerfdSettime } from "@baton/linux";
import type { VirtioDeviceContext } from "./device.js";

/** How much a device may do; 0 or absent means no limit. */
export interface RateLimitOptions {
  /** Requests a second. */
  readonly iops?: number;
  /** Bytes a second. */
  readonly bytesPerSecond?: number;
}

/** How much of a second's work may be done at once after a pause. */
const BURST_SECONDS = 0.1;

/** Two leaky buckets, of requests and of bytes: what overflows them has to wait, and goes on when enough has leaked out. */
export class RateLimit {
  readonly #buckets: Bucket[];
  readonly #timer: Fd | undefined;
  readonly #endWatch: (() => void) | undefined;

  constructor({ iops = 0, bytesPerSecond = 0 }: RateLimitOptions, context: VirtioDeviceContext, goOn: () => void) {
    this.#buckets = [new Bucket(iops), new Bucket(bytesPerSecond)];
    if (iops === 0 && bytesPerSecond === 0) return;
    const timer = timerfdCreate();
    this.#timer = timer;
    this.#endWatch = context.watch(timer.raw, EPOLLIN, () => {
      drainEventfd(timer);
      goOn();
    });
  }

  /** Counts a request of so many bytes; false if it has to wait, and the timer will call. */
  take(bytes: number): boolean {
    if (!this.ready()) return false;
    this.count(bytes);
    return true;
  }

  /** Whether a request may begin, of which only its end tells how long it is; false if it has to wait. */
  ready(): boolean {
    if (this.#timer === undefined) return true;
    const now = performance.now() / 1000;
    const [requests, data] = this.#buckets as [Bucket, Bucket];
    const wait = Math.max(requests.wait(now), data.wait(now));
    if (wait > 0) timerfdSettime(this.#timer, { value: BigInt(Math.ceil(wait * 1e9)) });
    return wait === 0;
  }

  /** Counts a request of so many bytes. */
  count(bytes: number): void {
    if (this.#timer === undefined) return;
    const [requests, data] = this.#buckets as [Bucket, Bucket];
    requests.add(1);
    data.add(bytes);
  }

  /** Disarms the timer. */
  stop(): void {
    if (this.#timer !== undefined) timerfdSettime(this.#timer, { value: 0n });
  }

  close(): void {
    this.#endWatch?.();
    this.#timer?.close();
  }
}

/** Holds what was done lately and leaks at the allowed rate. A request may overfill it: the next ones wait for that. */
class Bucket {
  readonly #rate: number;
  #level = 0;
  #at = 0;

  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Seconds until there is room. */
  wait(now: number): number {
    if (this.#rate === 0) return 0;
    this.#level = Math.max(0, this.#level - (now - this.#at) * this.#rate);
    this.#at = now;
    const over = this.#level - this.#rate * BURST_SECONDS;
    return over > 0 ? over / this.#rate : 0;
  }

  add(amount: number): void {
    this.#level += amount;
  }
}
