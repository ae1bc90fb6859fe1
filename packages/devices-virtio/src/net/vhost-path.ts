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
  VHOST_NET_SET_BACKEND,
  VHOST_SET_FEATURES,
  VHOST_SET_MEM_TABLE,
  VHOST_SET_OWNER,
  VHOST_SET_VRING_ADDR,
  VHOST_SET_VRING_BASE,
  VHOST_SET_VRING_CALL,
  VHOST_SET_VRING_ERR,
  VHOST_SET_VRING_KICK,
  VHOST_SET_VRING_NUM,
  vhost_memory,
  vhost_memory_region,
  vhost_vring_addr,
  vhost_vring_file,
  vhost_vring_state,
} from "../abi/vhost.js";
import type { VirtioDeviceContext } from "../device/device.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
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

/**
 * Has the kernel's vhost-net move packets between the queues and a tap. The guest's memory is then written without a
 * word to the dirty log: when it ends, all of RAM counts as written.
 */
export class VhostPath implements PacketPath {
  readonly pending = null;
  readonly #options: VhostPathOptions;
  readonly #broken: Fd;
  readonly #endWatch: () => void;
  #queues: readonly VirtQueue[] = [];
  #owned = false;
  #active = false;

  constructor(options: VhostPathOptions) {
    this.#options = options;
    this.#broken = eventfd({ nonblock: true });
    this.#endWatch = options.context.watch(this.#broken.raw, EPOLLIN, () => {
      drainEventfd(this.#broken);
      const ring = this.#queues[0]?.index ?? 0;
      options.onBroken(new QueueError(ring, "request", 0, "vhost-net found a ring that breaks the rules"));
    });
  }

  start({ receive, transmit, features, active }: PathStart): void {
    if (!receive.ready || !transmit.ready) return;
    this.#attempt(() => {
      if (!this.#owned) this.#own();
      this.#call(VHOST_SET_FEATURES, "VHOST_SET_FEATURES", u64(features & this.#options.vhostFeatures));
      this.#call(VHOST_SET_MEM_TABLE, "VHOST_SET_MEM_TABLE", this.#memoryTable());
      this.#queues = [receive, transmit];
      const kicks = this.#queues.map((queue, ring) => this.#setRing(ring, queue));
      this.#active = false;
      this.#setBackend(active);
      // A doorbell that was rung before may have been answered by nobody.
      for (const kick of kicks) signalEventfd(kick);
    });
  }

  notify(_queue: VirtQueue): boolean {
    return true;
  }

  setActive(active: boolean): void {
    if (this.#queues.length > 0) this.#attempt(() => this.#setBackend(active));
  }

  setExpected(_bytes: number): void {}

  goOn(): void {}

  stop(): void {
    const queues = this.#queues;
    if (queues.length === 0) return;
    this.#attempt(() => {
      this.#setBackend(false);
      queues.forEach((queue, ring) => {
        const state = words(vhost_vring_state.size, [vhost_vring_state.index, ring]);
        this.#call(VHOST_GET_VRING_BASE, "VHOST_GET_VRING_BASE", state);
        queue.reposition(new DataView(state.buffer).getUint32(vhost_vring_state.num, true));
      });
    });
    for (const queue of queues) this.#options.context.takeBack(queue.index);
    this.#leave();
  }

  reset(): void {
    if (this.#queues.length === 0) return;
    this.#attempt(() => {
      this.#setBackend(false);
      for (let ring = 0; ring < RINGS; ring++) {
        const state = words(vhost_vring_state.size, [vhost_vring_state.index, ring]);
        this.#call(VHOST_GET_VRING_BASE, "VHOST_GET_VRING_BASE", state);
      }
    });
    this.#leave();
  }

  close(): void {
    this.reset();
    this.#endWatch();
    this.#broken.close();
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

  #call(request: number, what: string, argument: Uint8Array): void {
    const result = tryIoctl(this.#options.vhostFd, request, argument);
    if (result < 0) throw vhostError(what, -result);
  }

  /** Binds the descriptor to this process's address space; it may be so already. */
  #own(): void {
    const result = tryIoctl(this.#options.vhostFd, VHOST_SET_OWNER, 0);
    if (result < 0 && result !== -EBUSY) throw vhostError("VHOST_SET_OWNER", -result);
    this.#owned = true;
  }

  /** Where guest RAM stands in this process now. */
  #memoryTable(): Uint8Array {
    const { regions } = this.#options.context.memory.describe();
    const bytes = new Uint8Array(vhost_memory.size + regions.length * vhost_memory_region.size);
    const data = new DataView(bytes.buffer);
    data.setUint32(vhost_memory.nregions, regions.length, true);
    regions.forEach(({ gpa, size, hva }, i) => {
      const at = vhost_memory.regions + i * vhost_memory_region.size;
      data.setBigUint64(at + vhost_memory_region.guest_phys_addr, gpa, true);
      data.setBigUint64(at + vhost_memory_region.memory_size, size, true);
      data.setBigUint64(at + vhost_memory_region.userspace_addr, hva, true);
    });
    return bytes;
  }

  /** Gives one ring to the kernel; its doorbell. */
  #setRing(ring: number, queue: VirtQueue): number {
    const { context } = this.#options;
    const state = queue.save();
    const { index, num } = vhost_vring_state;
    const at = (value: number) => words(vhost_vring_state.size, [index, ring], [num, value]);
    this.#call(VHOST_SET_VRING_NUM, "VHOST_SET_VRING_NUM", at(queue.size));
    this.#call(VHOST_SET_VRING_BASE, "VHOST_SET_VRING_BASE", at(state.lastAvail));
    const addresses = words(vhost_vring_addr.size, [vhost_vring_addr.index, ring]);
    const data = new DataView(addresses.buffer);
    data.setBigUint64(vhost_vring_addr.desc_user_addr, context.memory.hvaOf(state.desc, 1), true);
    data.setBigUint64(vhost_vring_addr.avail_user_addr, context.memory.hvaOf(state.driver, 1), true);
    data.setBigUint64(vhost_vring_addr.used_user_addr, context.memory.hvaOf(state.device, 1), true);
    this.#call(VHOST_SET_VRING_ADDR, "VHOST_SET_VRING_ADDR", addresses);
    const { kick, call } = context.handOver(queue.index);
    const file = (fd: number) =>
      words(vhost_vring_file.size, [vhost_vring_file.index, ring], [vhost_vring_file.fd, fd]);
    this.#call(VHOST_SET_VRING_ERR, "VHOST_SET_VRING_ERR", file(this.#broken.raw));
    this.#call(VHOST_SET_VRING_KICK, "VHOST_SET_VRING_KICK", file(kick));
    this.#call(VHOST_SET_VRING_CALL, "VHOST_SET_VRING_CALL", file(call));
    return kick;
  }

  /** Puts the tap behind both rings, or nothing. */
  #setBackend(active: boolean): void {
    if (active === this.#active) return;
    const fd = active ? this.#options.fd : -1;
    for (let ring = 0; ring < RINGS; ring++) {
      const file = words(vhost_vring_file.size, [vhost_vring_file.index, ring], [vhost_vring_file.fd, fd]);
      this.#call(VHOST_NET_SET_BACKEND, "VHOST_NET_SET_BACKEND", file);
    }
    this.#active = active;
  }
}

/** A structure with some 32-bit fields set, each by its offset. */
function words(size: number, ...fields: readonly (readonly [offset: number, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(size);
  const data = new DataView(bytes.buffer);
  for (const [offset, value] of fields) data.setInt32(offset, value, true);
  return bytes;
}

function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}

function vhostError(what: string, errno: number): BatonError {
  return new BatonError("VHOST_FAILED", `ioctl ${what}: ${errnoMessage(errno)} (${errnoName(errno)})`, {
    syscall: `ioctl ${what}`,
    errno,
    errnoName: errnoName(errno),
  });
}
