import type { BatonError } from "@baton/linux";
import { VHOST_NET_SET_BACKEND, vhost_vring_file } from "../abi/vhost.js";
import type { VirtioDeviceContext } from "../device/device.js";
import type { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { VhostRings, vhostWords } from "../vhost/rings.js";
import type { PacketPath, PathStart } from "./path.js";

/** What a path in the kernel stands between. */
export interface VhostPathOptions {
  readonly context: VirtioDeviceContext;
  /** A tap's queue. */
  readonly fd: number;
  /** An open /dev/vhost-net, of this pair alone. */
  readonly vhostFd: number;
  /** What VHOST_GET_FEATURES said. */
  readonly vhostFeatures: bigint;
  /** The kernel has refused: the pair moves nothing any more. */
  readonly onFailed: (error: BatonError) => void;
  /** The driver broke the rules. */
  readonly onBroken: (error: QueueError) => void;
}

/** A pair's rings in the words of vhost-net: the first is the one that the guest receives with. */
const RINGS = 2;

/** Has the kernel's vhost-net move packets between the queues and a tap. */
export class VhostPath implements PacketPath {
  readonly pending = [];
  readonly #fd: number;
  readonly #rings: VhostRings;

  constructor({ context, fd, vhostFd, vhostFeatures, onFailed, onBroken }: VhostPathOptions) {
    this.#fd = fd;
    this.#rings = new VhostRings({
      context,
      name: "vhost-net",
      fd: vhostFd,
      features: vhostFeatures,
      serve: (active) => this.#setBackend(active),
      onFailed,
      onBroken,
    });
  }

  start({ receive, transmit, features, active }: PathStart): void {
    this.#rings.start([receive, transmit], features, active);
  }

  notify(_queue: VirtQueue): boolean {
    return true;
  }

  setActive(active: boolean): void {
    this.#rings.setActive(active);
  }

  setExpected(_bytes: number): void {}

  goOn(): void {}

  stop(): void {
    this.#rings.stop();
  }

  reset(): void {
    this.#rings.reset();
  }

  close(): void {
    this.#rings.close();
  }

  /** Puts the tap behind both rings, or nothing. */
  #setBackend(active: boolean): void {
    const fd = active ? this.#fd : -1;
    for (let ring = 0; ring < RINGS; ring++) {
      const file = vhostWords(vhost_vring_file.size, [vhost_vring_file.index, ring], [vhost_vring_file.fd, fd]);
      this.#rings.call(VHOST_NET_SET_BACKEND, "VHOST_NET_SET_BACKEND", file);
    }
  }
}
