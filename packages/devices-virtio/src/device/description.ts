import type { Fd } from "@baton/linux";
import type { RingFeatures } from "./features.js";

/**
 * Where devices get their descriptors from: found, where a hand-over has brought one for this `name` and `id`, and else
 * opened by `open`. `name` says what it is for (`image`, `tap`), `id` whose.
 */
export type OpenOrFind = (name: string, id: string, open: () => Fd) => Fd;

/** What a description has opened for its device. */
export interface OpenedDevice {
  /** The options of the device's factory: structured-clonable, with descriptors by number. */
  readonly options: unknown;
  /**
   * Takes what only one machine may have at a time, such as a lock: called before the device works, where that was left
   * out because a state was to come, and after {@link OpenedDevice.inactivate}. What it throws keeps the guest from running.
   */
  activate?(): void;
  /** Gives that to another machine, which goes on with the state of the quiesced device; makes durable what was written. */
  inactivate?(): void;
  /**
   * Releases what was opened; called once, when the device no longer uses it. What was handed over is only closed:
   * nothing is removed, unlocked or ended that another machine goes on with.
   */
  close(handedOver: boolean): void | Promise<void>;
}

/** What a device is told of its machine. */
export interface MachineFacts {
  /** The guest's whole memory in bytes. */
  readonly ramBytes: number;
  /** Whether it goes on from a state, whose machine may still have what the state names. */
  readonly incoming?: boolean;
}

/** A virtio device that a machine shall have: what factory functions such as `virtioBlk` return. */
export interface VirtioDeviceDescription {
  readonly kind: "virtio";
  /** What it is, for messages and queries: `virtio-blk`. */
  readonly model: string;
  readonly id: string;
  /** How many queues it has. */
  readonly queues: number;
  /** The id of the iothread that serves it; the shared device thread unless given. */
  readonly iothread?: string;
  readonly rings?: RingFeatures;
  /** Whether it is a place without a back end, where another of its kind may be put; it has no id of its own then. */
  readonly empty?: boolean;
  /** The URL of the module with the device's factory; this package's own unless given. */
  readonly module?: string;
  readonly factory: string;
  /** Opens what the device needs, all of it through `openOrFind`. */
  open(openOrFind: OpenOrFind, machine: MachineFacts): OpenedDevice;
}
