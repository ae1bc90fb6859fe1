import type { CommandContext } from "../../../command/command.js";
import { type TimedVmEvent, VmEvents } from "../../../events.js";
import { RunStateMachine } from "../../../run-state.js";
import type { VirtualMachine } from "../../../virtual-machine.js";

/** What a fake VM may be told to be. */
export interface FakeVmOptions {
  readonly name?: string;
  readonly vcpus?: number;
  readonly topology?: { sockets: number; dies: number; cores: number; threads: number };
  /** Awaited in each operation that stops or starts the guest. */
  readonly operation?: (signal?: AbortSignal) => Promise<void>;
}

/** As much of a VM as commands and surfaces touch, without KVM; events as a VM sends them. */
export class FakeVm {
  readonly config: { readonly name?: string };
  readonly machine: object;
  readonly #events = new VmEvents();
  readonly #run = new RunStateMachine("running");
  readonly #operation: (signal?: AbortSignal) => Promise<void>;

  constructor(options: FakeVmOptions = {}) {
    const { vcpus = 2, name } = options;
    this.config = name === undefined ? {} : { name };
    this.machine = {
      topology: options.topology ?? { sockets: vcpus, dies: 1, cores: 1, threads: 1 },
      virtio: { devices: [], iothreads: new Map() },
      vcpus: { threads: Array.from({ length: vcpus }, (_, i) => ({ tid: 1000 + i })) },
    };
    this.#operation = options.operation ?? (async () => {});
  }

  get runState() {
    return this.#run.state;
  }

  onEvent(listener: (event: TimedVmEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  async pause({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#operation(signal);
    if (this.runState !== "running") return;
    this.#run.enter("paused");
    this.#events.emit({ type: "stop" });
  }

  async resume(): Promise<void> {
    await this.#operation();
    if (this.runState === "running") return;
    this.#run.enter("running");
    this.#events.emit({ type: "resume" });
  }

  async inspect<T>(work: () => T): Promise<T> {
    return work();
  }

  async reset(): Promise<void> {
    this.#events.emit({ type: "reset", guest: false, reason: "host-qmp-system-reset" });
  }

  async powerdown(): Promise<void> {
    this.#events.emit({ type: "powerdown" });
  }

  async shutdown(): Promise<void> {
    this.#events.emit({ type: "shutdown", guest: false, reason: "host-qmp-quit" });
    this.#run.enter("shutdown");
  }
}

/** A context around a fake VM that counts calls of `quit`. */
export function fakeContext(
  options: FakeVmOptions = {},
): CommandContext & { readonly vm: VirtualMachine; quits: number } {
  return {
    vm: new FakeVm(options) as unknown as VirtualMachine,
    quits: 0,
    quit() {
      this.quits++;
    },
  };
}
