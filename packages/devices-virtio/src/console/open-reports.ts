import { drainEventfd, EPOLLIN, timerfdCreate, timerfdSettime } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";

/** Reports in a window; of more, only the last of each port is told when it is over. */
const REPORTS = 32;
const WINDOW_NS = 100_000_000n;

/** Tells the embedder of ports that are opened and closed, at a bounded rate: a guest can do so all the time. */
export class OpenReports {
  readonly #context: VirtioDeviceContext;
  readonly #timer = timerfdCreate();
  readonly #endWatch: () => void;
  readonly #told = new Map<string, boolean>();
  readonly #late = new Map<string, boolean>();
  #reports = 0;

  constructor(context: VirtioDeviceContext) {
    this.#context = context;
    this.#endWatch = context.watch(this.#timer.raw, EPOLLIN, () => {
      drainEventfd(this.#timer);
      this.flush();
    });
  }

  report(port: string, open: boolean): void {
    if (this.#reports === 0) timerfdSettime(this.#timer, { value: WINDOW_NS });
    if (this.#reports++ < REPORTS) this.#tell(port, open);
    else this.#late.set(port, open);
  }

  /** Tells what has not been told. */
  flush(): void {
    timerfdSettime(this.#timer, { value: 0n });
    this.#reports = 0;
    for (const [port, open] of this.#late) if (this.#told.get(port) !== open) this.#tell(port, open);
    this.#late.clear();
  }

  close(): void {
    this.#endWatch();
    this.#timer.close();
  }

  #tell(port: string, open: boolean): void {
    this.#told.set(port, open);
    this.#context.emit({ name: "port-changed", data: { port, open } });
  }
}
