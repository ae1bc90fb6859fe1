import type { StreamProgress } from "@baton/migration";

/** The latest of a value that changes: each reader sees the newest, and misses those in between if it is slow. */
export class LatestProgress {
  #latest: StreamProgress | undefined;
  #ended = false;
  #wake: (() => void)[] = [];

  get latest(): StreamProgress | undefined {
    return this.#latest;
  }

  publish(progress: StreamProgress): void {
    this.#latest = progress;
    this.#wakeAll();
  }

  end(): void {
    this.#ended = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** What is published from now on; ends with the work. */
  async *[Symbol.asyncIterator](): AsyncGenerator<StreamProgress, void, undefined> {
    let seen: StreamProgress | undefined;
    for (;;) {
      const latest = this.#latest;
      if (latest !== undefined && latest !== seen) {
        seen = latest;
        yield latest;
      } else if (this.#ended) return;
      else await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }
}
