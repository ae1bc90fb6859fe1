import { schedYield } from "@baton/linux";
import type { Poller, PollingOptions } from "./service.js";

/** How the first polling time compares to what it grows to. */
const FIRST_NS = 4000;
const DEFAULT_GROW = 2;

/** Busy polling before a device thread sleeps, for a time that adapts to how soon work comes. */
export class Polling {
  readonly #options: PollingOptions;
  readonly #now: () => number;
  readonly #yield: () => void;
  readonly #pollers = new Set<Poller>();
  #ns: number;
  /** When the last polling began, in ns. */
  #startedAt = 0;

  /** `now` is the time in ns, `letOthersRun` gives the processor to a thread that waits for it. */
  constructor(options: PollingOptions, now = monotonicNs, letOthersRun = schedYield) {
    this.#options = options;
    this.#now = now;
    this.#yield = letOthersRun;
    this.#ns = Math.min(options.maxNs, FIRST_NS);
  }

  add(poller: Poller): () => void {
    this.#pollers.add(poller);
    return () => this.#pollers.delete(poller);
  }

  get enabled(): boolean {
    return this.#options.maxNs > 0 && this.#pollers.size > 0;
  }

  /**
   * Polls until there was work, which it does, or the time is up; whether there was any. `interrupted` is looked at after
   * the first round and now and then: it ends the polling as if there had been work. Where it does not, threads that wait
   * for the processor come first: what is polled for may be theirs to do.
   */
  run(interrupted: () => boolean): boolean {
    for (const poller of this.#pollers) poller.begin();
    let worked = false;
    // At least one round, however busy the descriptors are.
    this.#startedAt = this.#now();
    const end = this.#startedAt + this.#ns;
    let lookAgain = 1;
    for (;;) {
      for (const poller of this.#pollers) if (poller.poll()) worked = true;
      if (worked) return true;
      if (--lookAgain > 0) continue;
      lookAgain = LOOKS;
      if (interrupted()) return true;
      if (this.#now() >= end) break;
      this.#yield();
    }
    for (const poller of this.#pollers) if (poller.end()) worked = true;
    return worked;
  }

  /** The thread slept after it had polled in vain, and was woken: by polling longer it would have met what woke it, or not. */
  woken(): void {
    const { maxNs, grow, shrink = 0 } = this.#options;
    if (this.#now() - this.#startedAt > maxNs) this.#ns = shrink > 0 ? Math.floor(this.#ns / shrink) : 0;
    else this.#ns = Math.min(maxNs, this.#ns === 0 ? FIRST_NS : this.#ns * (grow || DEFAULT_GROW));
  }
}

/** How many rounds pass between two looks at the clock and the descriptors. */
const LOOKS = 32;

function monotonicNs(): number {
  return performance.now() * 1e6;
}
