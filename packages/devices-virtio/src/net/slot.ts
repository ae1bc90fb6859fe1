import type { VirtioDeviceDescription } from "../device/description.js";
import { randomMac } from "./mac.js";
import type { NetDeviceOptions } from "./options.js";
import { DEFAULT_QUEUE_SIZE, type NetBackend } from "./virtio-net.js";

/** Options of {@link emptyNet}. */
export interface EmptyNetOptions {
  /** What messages and states call the place. */
  readonly id: string;
  /** Pairs of queues of the cards that are put here; 1 unless given. */
  readonly queues?: number;
  /** What they stand on: the guest leaves checksums and segments to a tap. `tap` unless given. */
  readonly backend?: NetBackend["kind"];
}

/**
 * A place for a network card that holds none: the guest finds a card whose cable is out. Its rings are split ones, so
 * that vhost-net can serve a card that takes its place.
 */
export function emptyNet({ id, queues = 1, backend = "tap" }: EmptyNetOptions): VirtioDeviceDescription {
  const mac = randomMac();
  return {
    kind: "virtio",
    model: "virtio-net",
    id,
    queues: 2 * queues + 1,
    empty: true,
    rings: { packed: false, inOrder: false },
    factory: "createNetDevice",
    open() {
      const options: NetDeviceOptions = {
        fds: Array.from({ length: queues }, () => -1),
        tap: backend === "tap",
        interface: "",
        mac,
        macGiven: false,
        mtu: 0,
        queueSize: DEFAULT_QUEUE_SIZE,
        linkUp: false,
        vhost: null,
        limits: {},
      };
      return { options, close: () => {} };
    },
  };
}
