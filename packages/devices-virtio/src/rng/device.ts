import { EAGAIN, EINTR, EPOLLIN, errnoName, IoVector, tryReadv } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { RateLimit, type RateLimitOptions } from "../device/rate-limit.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";

/** What the device's half in its thread is made with. */
export interface RngDeviceOptions {
  /** Where the bytes come from, non-blocking. */
  readonly fd: number;
  readonly limits: RateLimitOptions;
}

/** The most bytes of one buffer: a driver that wants more asks again. */
const MAX_BYTES = 1 << 16;
const BUDGET = 32;

/** An entropy device (virtio 1.2, 5.4): fills each buffer from the host's source. */
export class RngDevice implements VirtioDevice {
  readonly deviceId = 4;
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [64];
  readonly workQueues: readonly number[] = [0];
  readonly config = new Uint8Array(0);
  readonly #context: VirtioDeviceContext;
  readonly #fd: number;
  readonly #limit: RateLimit;
  readonly #vector = new IoVector();
  #endWatch: (() => void) | undefined;

  constructor(context: VirtioDeviceContext, options: RngDeviceOptions) {
    this.#context = context;
    this.#fd = options.fd;
    this.#limit = new RateLimit(options.limits, context, () => context.again(0));
  }

  start(_ready: DriverReady): void {}

  notify(queue: VirtQueue): boolean {
    let all = false;
    let budget = BUDGET;
    for (; budget > 0; budget--) {
      const chain = queue.pop();
      all = chain === null;
      if (chain === null) break;
      if (chain.writableLength === 0) {
        throw new QueueError(queue.index, "request", chain.id, "a buffer for random bytes cannot be written");
      }
      const length = Math.min(chain.writableLength, MAX_BYTES);
      const read = this.#limit.take(length) ? this.#fill(chain, length) : -1;
      if (read < 0) {
        queue.unpop(chain);
        break;
      }
      queue.push(chain, read);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    if (budget === 0) this.#context.again(queue.index);
    return all;
  }

  /** Bytes that were read; negative where there are none now, and the source will say when. */
  #fill(chain: Chain, length: number): number {
    this.#vector.clear();
    chain.gatherWritable(this.#vector, 0, length);
    for (;;) {
      const result = tryReadv(this.#fd, this.#vector.words, this.#vector.count);
      if (result >= 0) return result;
      if (result === -EINTR) continue;
      if (result === -EAGAIN) {
        this.#endWatch ??= this.#context.watch(this.#fd, EPOLLIN, () => {
          this.#stopWatching();
          this.#context.again(0);
        });
        return result;
      }
      this.#context.emit({ name: "source-failed", data: { reason: errnoName(-result) } });
      return 0;
    }
  }

  reset(): void {
    this.quiesce();
  }

  quiesce(): void {
    this.#stopWatching();
    this.#limit.stop();
  }

  resume(): void {}

  save(): unknown {
    return {};
  }

  load(_state: unknown): void {}

  close(): void {
    this.#stopWatching();
    this.#limit.close();
  }

  #stopWatching(): void {
    this.#endWatch?.();
    this.#endWatch = undefined;
  }
}

/** The factory that the device's service calls. */
export function createRngDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new RngDevice(context, options as RngDeviceOptions);
}
