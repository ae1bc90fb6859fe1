import { setMaxListeners } from "node:events";
import type { BatonError } from "@baton/linux";
import type { MigrationStatus } from "./migration/status.js";
import type { RunState } from "./run-state.js";
import type { VirtioVmEvent } from "./virtio-event.js";

/** Why a VM shut down or was reset, by QEMU's names (QAPI `ShutdownCause`). */
export type ShutdownCause =
  | "guest-shutdown"
  | "guest-reset"
  | "guest-panic"
  | "host-qmp-quit"
  | "host-qmp-system-reset"
  | "host-signal"
  | "host-error"
  | "host-ui";

/** Something that happened to a VM. */
export type VmEvent =
  | { readonly type: "stop" }
  | { readonly type: "resume" }
  | { readonly type: "powerdown" }
  | { readonly type: "shutdown"; readonly guest: boolean; readonly reason: ShutdownCause }
  | { readonly type: "reset"; readonly guest: boolean; readonly reason: ShutdownCause }
  | { readonly type: "guest-panicked"; readonly action: "pause" | "poweroff" | "run" | "reset" }
  | { readonly type: "internal-error"; readonly error: BatonError }
  /** A device has been plugged out. */
  | { readonly type: "device-deleted"; readonly device: string; readonly path: string }
  /** A migration has got to another status; QMP clients are told unless it is `quiet`. */
  | { readonly type: "migration"; readonly status: MigrationStatus; readonly quiet: boolean }
  /** A pass over the guest's memory begins. */
  | { readonly type: "migration-pass"; readonly pass: number; readonly quiet: boolean }
  | VirtioVmEvent
  | { readonly type: "run-state"; readonly from: RunState; readonly to: RunState };

/** An event with the real time at which it happened, in microseconds since 1970. */
export type TimedVmEvent = VmEvent & { readonly timestampUs: number };

/** How many events wait for a slow reader of a stream before the oldest is dropped. */
const STREAM_CAPACITY = 1024;

/** Distributes a VM's events to listeners at once, and to async iterators through bounded queues. */
export class VmEvents {
  readonly #listeners = new Set<(event: TimedVmEvent) => void>();
  #ended = false;

  /** Calls every listener. A listener that throws does not keep others from hearing. */
  emit(event: VmEvent): void {
    const timed = { ...event, timestampUs: Math.round((performance.timeOrigin + performance.now()) * 1000) };
    for (const listener of [...this.#listeners]) {
      try {
        listener(timed);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Calls `listener` for each event from now on; returns the end of it. */
  listen(listener: (event: TimedVmEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends all streams. */
  end(): void {
    this.#ended = true;
    for (const end of [...this.#ends]) end();
  }

  readonly #ends = new Set<() => void>();

  /** The events from now on; ends with the VM or on abort. Where the reader is too slow, the oldest events are dropped. */
  async *stream(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<TimedVmEvent, void, undefined> {
    const queue: TimedVmEvent[] = [];
    let wake = () => {};
    let ended = this.#ended || (options.signal?.aborted ?? false);
    const end = () => {
      ended = true;
      wake();
    };
    const forget = this.listen((event) => {
      if (queue.push(event) > STREAM_CAPACITY) queue.shift();
      wake();
    });
    this.#ends.add(end);
    if (options.signal) setMaxListeners(0, options.signal);
    options.signal?.addEventListener("abort", end, { once: true });
    try {
      for (;;) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else if (ended) return;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      forget();
      this.#ends.delete(end);
      options.signal?.removeEventListener("abort", end);
    }
  }
}
