import type { DeviceEvent, HandlerContext } from "@baton/core-kvm";
import type { GuestMemory } from "@baton/memory";

/** A handler's context that records what the device does to the outside. */
export class TestContext implements HandlerContext {
  readonly shared: SharedArrayBuffer;
  readonly options: unknown;
  /** Levels that lines were set to, as "GSI:level". */
  readonly lines: string[] = [];
  readonly events: (DeviceEvent & { readonly pause: boolean })[] = [];
  isInterrupted = false;

  constructor(shared: SharedArrayBuffer, options: unknown = null) {
    this.shared = shared;
    this.options = options;
  }

  get memory(): GuestMemory {
    throw new Error("the device under test has no memory");
  }

  setIrq = (gsi: number, level: boolean): void => {
    this.lines.push(`${gsi}:${level ? 1 : 0}`);
  };

  interrupted = (): boolean => this.isInterrupted;

  emit = (event: DeviceEvent, options?: { readonly pause?: boolean }): void => {
    this.events.push({ ...event, pause: options?.pause ?? false });
  };
}
