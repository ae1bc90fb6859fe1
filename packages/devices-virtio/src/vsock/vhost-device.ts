import { BatonError, drainEventfd, EADDRINUSE, EPOLLIN, timerfdCreate, timerfdSettime, tryIoctl } from "@baton/linux";
import { VHOST_VSOCK_SET_GUEST_CID, VHOST_VSOCK_SET_RUNNING } from "../abi/vhost.js";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { bit } from "../device/features.js";
import { StateReader } from "../device/state.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { VhostRings, vhostError } from "../vhost/rings.js";
import { vsockConfig } from "./cid.js";
import { EVENT_BYTES, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VIRTIO_VSOCK_F_SEQPACKET } from "./packet.js";

/** What the device's half in its thread is made with. */
export interface VhostVsockDeviceOptions {
  readonly guestCid: bigint;
  /** An open /dev/vhost-vsock. */
  readonly vhostFd: number;
  /** What VHOST_GET_FEATURES said. */
  readonly vhostFeatures: bigint;
}

/** What `command("info")` answers. */
export interface VhostVsockInfo {
  readonly guestCid: number;
  /** Whether the kernel serves the guest. */
  readonly running: boolean;
}

/** What a socket device in the kernel saves: connections belong to the kernel, and end with the device. */
export interface VhostVsockState {
  /** The driver broke the rules: nothing happens until a reset. */
  readonly halted: boolean;
}

/** Receive, transmit, and events; the first two are the kernel's. */
const KERNEL_RINGS = 2;
const QUEUE_EVENT = 2;
/** How often it is tried again to get a context id that another device still has. */
const RETRY_NS = 20_000_000n;

/**
 * A socket device whose streams the kernel's vhost-vsock carries (virtio 1.2, 5.10). A move ends its connections: the
 * guest is told by a transport reset on the event queue (5.10.6.7), and the ones that it has are shut down.
 */
export class VhostVsockDevice implements VirtioDevice {
  readonly deviceId = 19;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [128, 128, 64];
  readonly config: Uint8Array;
  readonly #context: VirtioDeviceContext;
  readonly #options: VhostVsockDeviceOptions;
  readonly #rings: VhostRings;
  readonly #retry = timerfdCreate();
  readonly #endRetryWatch: () => void;
  #queues: readonly VirtQueue[] = [];
  #negotiated = 0n;
  #owesTransportReset = false;
  #halted = false;
  /** Between a load and `resume`. */
  #loaded = false;
  #quiesced = false;
  #running = false;
  /** The guest's context id is another's at the moment, and that has been told. */
  #waiting = false;

  constructor(context: VirtioDeviceContext, options: VhostVsockDeviceOptions) {
    this.#context = context;
    this.#options = options;
    this.features = options.vhostFeatures & bit(VIRTIO_VSOCK_F_SEQPACKET);
    this.config = vsockConfig(options.guestCid);
    this.#rings = new VhostRings({
      context,
      name: "vhost-vsock",
      fd: options.vhostFd,
      features: options.vhostFeatures,
      serve: (active) => this.#serve(active),
      onFailed: (error) => this.#failed(error),
      onBroken: (error) => {
        this.#halt();
        context.needsReset(error);
      },
    });
    this.#endRetryWatch = context.watch(this.#retry.raw, EPOLLIN, () => {
      drainEventfd(this.#retry);
      this.#run();
    });
  }

  start({ features, queues }: DriverReady): void {
    this.#negotiated = features;
    this.#queues = queues;
    if (this.#loaded) return;
    this.#owesTransportReset = false;
    this.#run();
  }

  notify(queue: VirtQueue): boolean {
    if (queue.index === QUEUE_EVENT && !this.#quiesced && !this.#halted) this.#sendTransportReset();
    return true;
  }

  reset(): void {
    this.#endWaiting();
    this.#rings.reset();
    this.#queues = [];
    this.#running = false;
    this.#halted = false;
    this.#loaded = false;
    this.#owesTransportReset = false;
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#stop();
  }

  resume(): void {
    this.#quiesced = false;
    this.#loaded = false;
    if (this.#queues.length > 0 && !this.#halted) this.#run();
  }

  save(): VhostVsockState {
    return { halted: this.#halted };
  }

  load(state: unknown): void {
    const reader = new StateReader(this.#context.id, state, "device");
    this.#halted = reader.boolean("halted");
    this.#loaded = true;
    // Whatever connections it had, they are gone.
    this.#owesTransportReset = true;
  }

  command(name: string): unknown {
    if (name === "info") return { guestCid: Number(this.#options.guestCid), running: this.#running };
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a socket device has no command '${name}'`);
  }

  close(): void {
    this.#rings.close();
    this.#endRetryWatch();
    this.#retry.close();
  }

  #run(): void {
    if (this.#quiesced || this.#halted || this.#running || this.#queues.length === 0) return;
    this.#sendTransportReset();
    if (!this.#takeCid()) return;
    this.#running = true;
    this.#rings.start(this.#queues.slice(0, KERNEL_RINGS), this.#negotiated, true);
  }

  #stop(): void {
    this.#endWaiting();
    this.#rings.stop();
    this.#running = false;
  }

  /** Has the host's programs find the guest by its context id; false where another device still has it. */
  #takeCid(): boolean {
    const result = tryIoctl(this.#options.vhostFd, VHOST_VSOCK_SET_GUEST_CID, vsockConfig(this.#options.guestCid));
    if (result === 0) {
      this.#endWaiting();
      return true;
    }
    if (result !== -EADDRINUSE) {
      this.#failed(vhostError("VHOST_VSOCK_SET_GUEST_CID", -result));
      return false;
    }
    if (!this.#waiting) this.#context.emit({ name: "cid-in-use", data: { guestCid: Number(this.#options.guestCid) } });
    this.#waiting = true;
    timerfdSettime(this.#retry, { value: RETRY_NS });
    return false;
  }

  #endWaiting(): void {
    this.#waiting = false;
    timerfdSettime(this.#retry, { value: 0n });
  }

  #serve(active: boolean): void {
    this.#rings.call(VHOST_VSOCK_SET_RUNNING, "VHOST_VSOCK_SET_RUNNING", new Uint8Array(Int32Array.of(+active).buffer));
  }

  /** Tells the guest that its connections are gone, as soon as it has a buffer for that. */
  #sendTransportReset(): void {
    const queue = this.#queues[QUEUE_EVENT];
    while (this.#owesTransportReset && queue?.ready) {
      const chain = queue.pop();
      if (chain === null) {
        if (queue.setNotification(true)) continue;
        return;
      }
      if (chain.writableLength < EVENT_BYTES) {
        this.#halt();
        throw new QueueError(queue.index, "request", chain.id, "a buffer is shorter than an event");
      }
      chain.write(new Uint8Array(Uint32Array.of(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET).buffer));
      queue.push(chain, EVENT_BYTES);
      this.#owesTransportReset = false;
      if (queue.needsNotification()) this.#context.interrupt(queue.index);
    }
  }

  #halt(): void {
    this.#halted = true;
    this.#stop();
  }

  /** The kernel has refused: the device is of no use until the driver resets it. */
  #failed(error: BatonError): void {
    if (this.#halted) return;
    this.#context.emit({ name: "vhost-failed", data: { reason: error.message } });
    this.#halt();
    this.#context.needsReset(error);
  }
}

/** The factory that the device's service calls. */
export function createVhostVsockDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new VhostVsockDevice(context, options as VhostVsockDeviceOptions);
}
