import type { VirtioState } from "../../src/index.js";
import type { MmioBench } from "./mmio-bench.js";

/** The driver of a guest beside a device on a bench. */
export class BenchGuest {
  bench: MmioBench;

  protected constructor(bench: MmioBench) {
    this.bench = bench;
  }

  /** Turns until the condition holds. */
  until<T>(condition: () => T, what: string, timeoutMs = 5000): NonNullable<T> {
    for (const end = performance.now() + timeoutMs; ; ) {
      const found = condition();
      if (found) return found;
      if (performance.now() > end) throw new Error(`${what} did not come`);
      this.bench.turn(10);
    }
  }

  /** The device is made anew from its state, on the same RAM. */
  async move(change: (state: VirtioState) => VirtioState = (state) => state): Promise<void> {
    this.bench = await this.bench.moved(change(this.bench.save()));
    this.bench.call("resume");
  }

  [Symbol.dispose](): void {
    this.bench.close();
  }
}
