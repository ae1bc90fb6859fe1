import {
  BatonError,
  drainEventfd,
  EBUSY,
  EPOLLIN,
  errnoMessage,
  errnoName,
  eventfd,
  type Fd,
  signalEventfd,
  tryIoctl,
} from "@baton/linux";
import {
  VHOST_GET_VRING_BASE,
  VHOST_SET_FEATURES,
  VHOST_SET_MEM_TABLE,
  VHOST_SET_OWNER,
  VHOST_SET_VRING_ADDR,
  VHOST_SET_VRING_BASE,
  VHOST_SET_VRING_CALL,
  VHOST_SET_VRING_ERR,
  VHOST_SET_VRING_KICK,
  VHOST_SET_VRING_NUM,
  vhost_vring_addr,
  vhost_vring_file,
  vhost_vring_state,
} from "../abi/vhost.js";
import type { VirtioDeviceContext } from "../device/device.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { memoryTable } from "./memory-table.js";

/** What stands behind the rings of a vhost device. */
export interface VhostRingsOptions {
  readonly context: VirtioDeviceContext;
  /** `vhost-net`, for messages. */
  readonly name: string;
  /** The open vhost device, of these rings alone. */
  readonly fd: number;
  /** What VHOST_GET_FEATURES said. */
  readonly features: bigint;
  /** Has the kernel begin to serve the rings, or end it, by {@link VhostRings.call}. */
  readonly serve: (active: boolean) => void;
  /** The kernel has refused: nothing moves any more. */
  readonly onFailed: (error: BatonError) => void;
  /** The driver broke the rules. */
  readonly onBroken: (error: QueueError) => void;
}

/**
 * Queues of a device that a thread of the kernel serves (`linux/vhost.h`). Guest memory is then written without a word to
 * the dirty log: when it ends, all of RAM counts as written.
 */
export class VhostRings {
  readonly #options: VhostRingsOptions;
  readonly #broken: Fd;
  readonly #endWatch: () => void;
  #queues: readonly VirtQueue[] = [];
  #owned = false;
  #active = false;

  constructor(options: VhostRingsOptions) {
    this.#options = options;
    this.#broken = eventfd({ nonblock: true });
    this.#endWatch = options.context.watch(this.#broken.raw, EPOLLIN, () => {
      drainEventfd(this.#broken);
      const index = this.#queues[0]?.index ?? 0;
      options.onBroken(new QueueError(index, "request", 0, `${options.name} found a ring that breaks the rules`));
    });
  }

  /**
   * Gives queues to the kernel, which serves them if they are `active`: the first is its ring 0. `features` are the
   * negotiated ones. Does nothing unless all are ready.
   */
  start(queues: readonly VirtQueue[], features: bigint, active: boolean): void {
    if (!queues.every(({ ready }) => ready)) return;
    this.#attempt(() => {
      if (!this.#owned) this.#own();
      this.call(VHOST_SET_FEATURES, "VHOST_SET_FEATURES", u64(features & this.#options.features));
      this.call(VHOST_SET_MEM_TABLE, "VHOST_SET_MEM_TABLE", memoryTable(this.#options.context.memory));
      this.#queues = queues;
      const kicks = queues.map((queue, ring) => this.#setRing(ring, queue));
      this.#active = false;
      this.#setActive(active);
      // A doorbell that was rung before may have been answered by nobody.
      for (const kick of kicks) signalEventfd(kick);
    });
  }

  /** Has the kernel serve them or not, while it has them. */
  setActive(active: boolean): void {
    if (this.#queues.length > 0) this.#attempt(() => this.#setActive(active));
  }

  /** Takes the queues back, each where the kernel has left it. */
  stop(): void {
    const queues = this.#queues;
    if (queues.length === 0) return;
    this.#attempt(() => {
      this.#setActive(false);
      queues.forEach((queue, ring) => {
        queue.reposition(this.#endRing(ring));
      });
    });
    for (const queue of queues) this.#options.context.takeBack(queue.index);
    this.#leave();
  }

  /** Ends the rings of queues that have been reset. */
  reset(): void {
    const queues = this.#queues;
    if (queues.length === 0) return;
    this.#attempt(() => {
      this.#setActive(false);
      queues.forEach((_, ring) => {
        this.#endRing(ring);
      });
    });
    this.#leave();
  }

  close(): void {
    this.reset();
    this.#endWatch();
    this.#broken.close();
  }

  /** ioctl(2). Throws `VHOST_FAILED`. */
  call(request: number, what: string, argument: Uint8Array): void {
    const result = tryIoctl(this.#options.fd, request, argument);
    if (result < 0) throw vhostError(what, -result);
  }

  #setActive(active: boolean): void {
    if (active === this.#active) return;
    this.#options.serve(active);
    this.#active = active;
  }

  #leave(): void {
    this.#queues = [];
    this.#active = false;
    const { memory } = this.#options.context;
    for (const { gpa, size } of memory.describe().regions) memory.markDirty(gpa, Number(size));
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!BatonError.is(error, "VHOST_FAILED")) throw error;
      this.#options.onFailed(error);
    }
  }

  /** Binds the descriptor to this process's address space; it may be so already. */
  #own(): void {
    const result = tryIoctl(this.#options.fd, VHOST_SET_OWNER, 0);
    if (result < 0 && result !== -EBUSY) throw vhostError("VHOST_SET_OWNER", -result);
    this.#owned = true;
  }

  /** Gives one ring to the kernel; its doorbell. */
  #setRing(ring: number, queue: VirtQueue): number {
    const { context } = this.#options;
    const state = queue.save();
    const { index, num } = vhost_vring_state;
    const at = (value: number) => vhostWords(vhost_vring_state.size, [index, ring], [num, value]);
    this.call(VHOST_SET_VRING_NUM, "VHOST_SET_VRING_NUM", at(queue.size));
    this.call(VHOST_SET_VRING_BASE, "VHOST_SET_VRING_BASE", at(state.lastAvail));
    const addresses = vhostWords(vhost_vring_addr.size, [vhost_vring_addr.index, ring]);
    const data = new DataView(addresses.buffer);
    data.setBigUint64(vhost_vring_addr.desc_user_addr, context.memory.hvaOf(state.desc, 1), true);
    data.setBigUint64(vhost_vring_addr.avail_user_addr, context.memory.hvaOf(state.driver, 1), true);
    data.setBigUint64(vhost_vring_addr.used_user_addr, context.memory.hvaOf(state.device, 1), true);
    this.call(VHOST_SET_VRING_ADDR, "VHOST_SET_VRING_ADDR", addresses);
    const { kick, call } = context.handOver(queue.index);
    const file = (fd: number) =>
      vhostWords(vhost_vring_file.size, [vhost_vring_file.index, ring], [vhost_vring_file.fd, fd]);
    this.call(VHOST_SET_VRING_ERR, "VHOST_SET_VRING_ERR", file(this.#broken.raw));
    this.call(VHOST_SET_VRING_KICK, "VHOST_SET_VRING_KICK", file(kick));
    this.call(VHOST_SET_VRING_CALL, "VHOST_SET_VRING_CALL", file(call));
    return kick;
  }

  /** Ends one ring; the available index that the kernel would have taken next. */
  #endRing(ring: number): number {
    const state = vhostWords(vhost_vring_state.size, [vhost_vring_state.index, ring]);
    this.call(VHOST_GET_VRING_BASE, "VHOST_GET_VRING_BASE", state);
    return new DataView(state.buffer).getUint32(vhost_vring_state.num, true);
  }
}

/** A structure with some 32-bit fields set, each by its offset. */
export function vhostWords(size: number, ...fields: readonly (readonly [offset: number, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(size);
  const data = new DataView(bytes.buffer);
  for (const [offset, value] of fields) data.setInt32(offset, value, true);
  return bytes;
}

function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}

/** What an ioctl of vhost was refused with: `VHOST_FAILED`. */
export function vhostError(what: string, errno: number): BatonError {
  return new BatonError("VHOST_FAILED", `ioctl ${what}: ${errnoMessage(errno)} (${errnoName(errno)})`, {
    syscall: `ioctl ${what}`,
    errno,
    errnoName: errnoName(errno),
  });
}
