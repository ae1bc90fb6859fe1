import type { GuestMemory } from "@baton/memory";
import type { VirtQueue } from "../queue/queue.js";

/** Something that a device tells the embedder; structured-clonable. */
export interface VirtioEvent {
  readonly name: string;
  readonly data?: unknown;
}

/** What a transport gives to a device, all in the device's thread. */
export interface VirtioDeviceContext {
  /** The device's id, for messages. */
  readonly id: string;
  /** Guest memory as this thread sees it. */
  readonly memory: GuestMemory;
  /** Raises the interrupt of a queue, whether the driver wants it or not; `VirtQueue.needsNotification` says if. */
  interrupt(queue: number): void;
  /** The configuration space has changed: advances its generation and raises the configuration interrupt (2.5). */
  configChanged(): void;
  /** Sets DEVICE_NEEDS_RESET (2.1.2): the device does nothing more until the driver has reset it. */
  needsReset(error: unknown): void;
  /** Has `notify` called for the queue in the next turn of the thread, after other devices have had theirs. */
  again(queue: number): void;
  /** Calls `onReady` when the descriptor has one of the epoll `events`; returns the end of it. */
  watch(fd: number, events: number, onReady: (events: number) => void): () => void;
  /** Calls `work` in the next turn of the thread. */
  defer(work: () => void): void;
  emit(event: VirtioEvent): void;
  /** The descriptors behind a queue, for a device that lives in the kernel; the thread then does not look at them. */
  handOver(queue: number): KernelNotifiers;
  /** Takes them back. */
  takeBack(queue: number): void;
}

/** How a queue's two sides wake each other without this process. */
export interface KernelNotifiers {
  /** Signalled by the guest's doorbell. */
  readonly kick: number;
  /** To be signalled for an interrupt. */
  readonly call: number;
}

/** What driver and device have agreed on when the driver is ready (DRIVER_OK, virtio 1.2, 3.1.1). */
export interface DriverReady {
  /** The negotiated feature bits. */
  readonly features: bigint;
  /** All of the device's queues by number; those that the driver does not use are not `ready`. */
  readonly queues: readonly VirtQueue[];
}

/**
 * A virtio device as its transport sees it. Everything happens in the device's thread, one call at a time. What the
 * driver does wrong may be thrown as `VIRTQUEUE_BROKEN` out of `notify`: the transport then sets DEVICE_NEEDS_RESET; any
 * other error ends the VM with `internal-error`.
 *
 * | method | before it | what it does | what it must not do |
 * | --- | --- | --- | --- |
 * | `start` | reset, or new | takes the queues into use | touch the guest, unless a queue has work |
 * | `notify` | started, not quiesced | serves a queue for a bounded time | wait |
 * | `reset` | any | drops all that the driver gave it; back-end I/O under way is finished first | touch guest RAM after it |
 * | `quiesce` | any | finishes I/O under way and stops its sources; may be called again | leave guest-visible effects to come |
 * | `save` | quiesced | tells everything beyond RAM, rings and back end | change anything |
 * | `load` | new, or quiesced; then `start` for a device that was started | takes a saved state; may be called again | have any effect outside of itself |
 * | `succeed` | new | the state to `load`, to go on with the driver of another of its kind | change anything |
 * | `abandon` | quiesced; `close` follows | answers what it holds with errors: its back end is taken away | leave a request unanswered |
 * | `resume` | quiesced | goes on; the transport then notifies it of every queue | - |
 * | `close` | any | lets go of everything; of what it has opened too, if its state was handed over | close descriptors that it was given |
 */
export interface VirtioDevice {
  /** The device's number (virtio 1.2, 5). */
  readonly deviceId: number;
  /** The feature bits of its kind that it offers; the transport adds those of rings and of itself. */
  readonly features: bigint;
  /** The most descriptors of each queue. */
  readonly queueSizes: readonly number[];
  /**
   * Queues on which a buffer means work at once: the transport silences their doorbells while they are served, asks for
   * them again when `notify` has taken everything, and a thread that polls looks at them.
   */
  readonly workQueues?: readonly number[];
  /** The configuration space as the driver reads it (2.5), little-endian; at most 256 bytes. */
  readonly config: Uint8Array;
  /** The driver has written to the configuration space; `config` holds what it was. Ignored where it is absent. */
  writeConfig?(offset: number, bytes: Uint8Array): void;
  start(ready: DriverReady): void;
  /** True when it has taken all that there was; false where it left some, and will ask for another turn by `again`. */
  notify(queue: VirtQueue): boolean;
  reset(): void;
  quiesce(): void;
  resume(): void;
  /** A plain object. */
  save(): unknown;
  /** Throws `DEVICE_STATE` with the path of a field that is wrong. */
  load(state: unknown): void;
  /**
   * The state with which it goes on where another of its kind has stood: what the driver has set, from what that saved,
   * and its own back end. Absent where a device cannot be replaced while the driver runs.
   */
  succeed?(former: unknown): unknown;
  abandon?(): void;
  /** Features that it does not offer, and keeps its word on towards a driver that was offered them by another. */
  readonly tolerated?: bigint;
  /** Answers the embedder; throws for what cannot be done. */
  command?(name: string, args: unknown): unknown;
  /** `handedOver`: another device goes on with the state that was saved last, and with what that names. */
  close(handedOver: boolean): void;
}

/** What a device's module exports: makes the device from its options. */
export type VirtioDeviceFactory = (context: VirtioDeviceContext, options: unknown) => VirtioDevice;
