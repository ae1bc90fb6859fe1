import { EINVAL, throwErrno, tryIoctl } from "@baton/linux";
import {
  IFF_ATTACH_QUEUE,
  IFF_DETACH_QUEUE,
  ifreq,
  TUN_F_UFO,
  TUNSETOFFLOAD,
  TUNSETQUEUE,
  TUNSETVNETHDRSZ,
} from "../abi/tun.js";
import { tapOffloads } from "./features.js";
import { NET_HEADER_BYTES } from "./packet.js";

/** The host's queues of a network device: what it asks of a tap. Of sockets it asks nothing. */
export class TapQueues {
  readonly #fds: readonly number[];
  readonly #tap: boolean;

  constructor(fds: readonly number[], tap: boolean) {
    this.#fds = fds;
    this.#tap = tap;
  }

  /** Has them put headers of virtio 1.x in front of packets. Throws `SYSCALL_FAILED`. */
  setHeader(): void {
    if (!this.#tap) return;
    const size = new Uint8Array(Int32Array.of(NET_HEADER_BYTES).buffer);
    for (const fd of this.#fds) check(tryIoctl(fd, TUNSETVNETHDRSZ, size), "TUNSETVNETHDRSZ");
  }

  /** Tells what the guest takes unfinished: its GUEST_* bits; a kernel without UFO goes without. Throws `SYSCALL_FAILED`. */
  setOffloads(offloads: bigint): void {
    if (!this.#tap) return;
    const fd = this.#fds[0] as number;
    const flags = tapOffloads(offloads);
    let result = tryIoctl(fd, TUNSETOFFLOAD, flags);
    if (result === -EINVAL && (flags & TUN_F_UFO) !== 0) result = tryIoctl(fd, TUNSETOFFLOAD, flags & ~TUN_F_UFO);
    check(result, "TUNSETOFFLOAD");
  }

  /** Has the kernel spread packets over the first `pairs` of several alone. Throws `SYSCALL_FAILED`. */
  attach(pairs: number): void {
    if (!this.#tap || this.#fds.length === 1) return;
    for (const [pair, fd] of this.#fds.entries()) {
      const request = new Uint8Array(ifreq.size);
      const flags = pair < pairs ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
      new DataView(request.buffer).setUint16(ifreq.ifr_flags, flags, true);
      const result = tryIoctl(fd, TUNSETQUEUE, request);
      // The answer where it is so already.
      if (result !== -EINVAL) check(result, "TUNSETQUEUE");
    }
  }
}

function check(result: number, what: string): void {
  if (result < 0) throwErrno(`ioctl ${what}`, -result);
}
