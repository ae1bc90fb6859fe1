import { EIO, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from "@baton/linux";
import type { VirtioDeviceContext } from "../device/device.js";
import { hasBit } from "../device/features.js";
import type { RateLimit } from "../device/rate-limit.js";
import type { VirtQueue } from "../queue/queue.js";
import { VIRTIO_NET_F_MRG_RXBUF } from "./features.js";
import { FrameRing } from "./frame-ring.js";
import type { PacketPath, PathStart } from "./path.js";
import { Readiness } from "./readiness.js";
import { Receiver } from "./receive.js";
import type { DirectionCounter } from "./statistics.js";
import { Transmitter } from "./transmit.js";

/** What a path in this process stands between. */
export interface UserPathOptions {
  readonly context: VirtioDeviceContext;
  /** A tap's queue, or a socket of packets; non-blocking. */
  readonly fd: number;
  /** Whether it is a tap's: those take batches. */
  readonly tap: boolean;
  readonly receive: { readonly limit: RateLimit; readonly counter: DirectionCounter };
  readonly transmit: { readonly limit: RateLimit; readonly counter: DirectionCounter };
  /** Runs what the descriptor's readiness leads to. */
  readonly guard: (work: () => void) => void;
  /** The descriptor has failed for good, by this errno. */
  readonly onLost: (errno: number) => void;
}

/** Moves packets in this process, between the queues and a descriptor. */
export class UserPath implements PacketPath {
  readonly #context: VirtioDeviceContext;
  readonly #readiness: Readiness;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  readonly #ring: FrameRing | undefined;
  #queues: PathStart | undefined;

  constructor({ context, fd, tap, receive, transmit, guard, onLost }: UserPathOptions) {
    this.#context = context;
    this.#readiness = new Readiness(context, fd, (events) => guard(() => this.#ready(events, onLost)));
    this.#ring = tap ? FrameRing.open(fd) : undefined;
    const ring = this.#ring;
    const watch = (events: number) => (wanted: boolean) =>
      wanted ? this.#readiness.add(events) : this.#readiness.remove(events);
    this.#receiver = new Receiver({ context, fd, ring, ...receive, watch: watch(EPOLLIN), onLost });
    const onFull = () => watch(EPOLLOUT)(true);
    this.#transmitter = new Transmitter({ context, fd, ring, ...transmit, onFull, onLost });
  }

  get pending(): readonly Uint8Array[] {
    return this.#receiver.pending;
  }

  set pending(packets: readonly Uint8Array[]) {
    this.#receiver.pending = packets;
  }

  start(start: PathStart): void {
    this.#queues = start;
    const { receive, expected, active, features } = start;
    this.#transmitter.active = active;
    this.#receiver.start(receive, hasBit(features, VIRTIO_NET_F_MRG_RXBUF), expected, active);
  }

  notify(queue: VirtQueue): boolean {
    if (queue === this.#queues?.transmit) return this.#transmitter.notify(queue);
    this.#receiver.serve();
    return true;
  }

  setActive(active: boolean): void {
    this.#transmitter.active = active;
    this.#receiver.setActive(active);
    if (!active) this.#readiness.stop();
    this.#transmitAgain();
  }

  setExpected(bytes: number): void {
    this.#receiver.setExpected(bytes);
  }

  goOn(): void {
    this.#receiver.serve();
    this.#transmitAgain();
  }

  stop(): void {
    this.#receiver.stop();
    this.#readiness.stop();
    this.#queues = undefined;
  }

  reset(): void {
    this.#receiver.reset();
    this.#readiness.stop();
    this.#queues = undefined;
  }

  close(): void {
    this.#readiness.stop();
    this.#ring?.close();
  }

  /** What the driver left in the queue goes out, or is dropped now that the link is down. */
  #transmitAgain(): void {
    if (this.#queues?.transmit.ready) this.#context.again(this.#queues.transmit.index);
  }

  #ready(events: number, onLost: (errno: number) => void): void {
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
      onLost(EIO);
      return;
    }
    if ((events & EPOLLOUT) !== 0) {
      this.#readiness.remove(EPOLLOUT);
      this.#transmitAgain();
    }
    if ((events & EPOLLIN) !== 0) this.#receiver.serve();
  }
}
