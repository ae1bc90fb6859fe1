import type { GuestMemory } from "@baton/memory";
import type { ServiceHandle } from "../device-thread/device-thread.js";

/** Width of a guest's access in bytes. Accesses of 8 bytes reach handlers as two of 4, low half first. */
export type AccessSize = 1 | 2 | 4;

/**
 * Answers accesses to a device's registers. `offset` counts from the start of the device's range. A read returns an
 * unsigned value of `size` bytes; what exceeds it is cut off. A handler that throws stops the VM with `internal-error`.
 */
export interface BusHandler {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** A handler in the embedder's thread; it may answer later. The vCPU waits, the others run on. */
export interface EmbedderHandler {
  read(offset: number, size: AccessSize): number | Promise<number>;
  write(offset: number, size: AccessSize, value: number): void | Promise<void>;
}

/** What a handler can do beside answering. */
export interface HandlerContext {
  /** Memory shared by all instances of this handler (one per thread) and the embedder, with the device's state in it. */
  readonly shared: SharedArrayBuffer;
  /** What the device's description passed on; structured-clonable. */
  readonly options: unknown;
  readonly memory: GuestMemory;
  /** Sets a line of the in-kernel interrupt controllers. */
  setIrq(gsi: number, level: boolean): void;
  /** Whether the calling vCPU has been asked to pause: a handler that waits for something must then return. */
  interrupted(): boolean;
  /** Tells the embedder something; with `pause`, the calling vCPU stops after this access until the VM is resumed. */
  emit(event: DeviceEvent, options?: { readonly pause?: boolean }): void;
}

/** Something that a device's handler reports to the embedder; structured-clonable. */
export interface DeviceEvent {
  readonly device: string;
  readonly name: string;
  readonly data?: unknown;
}

/** What a handler's module exports under the name given in the device's description. */
export type HandlerFactory = (context: HandlerContext) => BusHandler;

/** A stretch of I/O ports or guest physical addresses. */
export interface BusRange {
  readonly space: "pio" | "mmio";
  readonly base: bigint;
  readonly length: number;
  /** The device's offset of the first byte; 0 unless said otherwise. */
  readonly offset?: number;
}

/** A handler that is code: loaded by URL in the thread that runs it. */
export interface HandlerModule {
  /** The URL of an ES module. */
  readonly module: string;
  /** The name under which it exports a {@link HandlerFactory}. */
  readonly factory: string;
  readonly shared: SharedArrayBuffer;
  readonly options?: unknown;
}

/** A device on the bus: its ranges and the thread in which they are answered. */
export interface BusDevice {
  readonly name: string;
  readonly ranges: readonly BusRange[];
  readonly handler:
    | ({ readonly thread: "vcpu" } & HandlerModule)
    | ({ readonly thread: "device" } & HandlerModule)
    | { readonly thread: "service"; readonly service: ServiceHandle }
    | { readonly thread: "embedder"; readonly handler: EmbedderHandler };
}
