import { BatonError } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import type { NetConfig } from "./config.js";

/** The cable: up while the embedder wants it plugged in and the host's side is there. */
export class NetLink {
  readonly #context: VirtioDeviceContext;
  readonly #config: NetConfig;
  readonly #onChanged: () => void;
  #plugged: boolean;
  #lost: string | null = null;

  /** `onChanged` is called when it may have come up or gone down, after the guest was told. */
  constructor(context: VirtioDeviceContext, config: NetConfig, plugged: boolean, onChanged: () => void) {
    this.#context = context;
    this.#config = config;
    this.#onChanged = onChanged;
    this.#plugged = plugged;
    config.linkUp = plugged;
  }

  get up(): boolean {
    return this.#plugged && this.#lost === null;
  }

  /** What the embedder wants. */
  get plugged(): boolean {
    return this.#plugged;
  }

  /** Why the host's side is gone. */
  get lost(): string | null {
    return this.#lost;
  }

  /** Takes what a state says, without a word to the guest. */
  load(plugged: boolean): void {
    this.#plugged = plugged;
    this.#config.linkUp = this.up;
  }

  /** Plugs the cable in or out. Plugged in, a host's side that was gone is tried again: true, if it was. */
  plug(plugged: boolean): boolean {
    const lost = this.#lost !== null;
    this.#plugged = plugged;
    if (plugged) this.#lost = null;
    this.#changed();
    return plugged && lost;
  }

  /** The host's side is gone: the guest sees the link go down. */
  lose(reason: string): void {
    if (this.#lost !== null) return;
    this.#lost = reason;
    this.#context.emit({ name: "link-lost", data: { reason } });
    this.#changed();
  }

  /** Does something to the host's side while that is there; one that refuses is gone. */
  attempt(work: () => void): void {
    if (this.#lost !== null) return;
    try {
      work();
    } catch (error) {
      if (!BatonError.is(error, "SYSCALL_FAILED")) throw error;
      this.lose(error.message);
    }
  }

  #changed(): void {
    if (this.#config.linkUp !== this.up) {
      this.#config.linkUp = this.up;
      this.#context.configChanged();
    }
    this.#onChanged();
  }
}
