/**
 * A lock in one word of shared memory, for registers that several vCPU threads answer. Short waits spin, longer ones
 * sleep. Word values: 0 free, 1 held, 2 held with sleepers.
 */
export class SharedLock {
  readonly #words: Int32Array;
  readonly #index: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  acquire(): void {
    const words = this.#words;
    const index = this.#index;
    for (let spin = 0; spin < 64; spin++) {
      if (Atomics.compareExchange(words, index, 0, 1) === 0) return;
    }
    while (Atomics.exchange(words, index, 2) !== 0) Atomics.wait(words, index, 2);
  }

  release(): void {
    if (Atomics.exchange(this.#words, this.#index, 0) === 2) Atomics.notify(this.#words, this.#index, 1);
  }
}
