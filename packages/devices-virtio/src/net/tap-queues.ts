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
import { NET_HEADER_BYTES } from "./packet.js";

/** Has a tap put headers of virtio 1.x in front of packets. Throws `SYSCALL_FAILED`. */
export function setTapHeader(fd: number): void {
  const size = new Uint8Array(Int32Array.of(NET_HEADER_BYTES).buffer);
  check(tryIoctl(fd, TUNSETVNETHDRSZ, size), "TUNSETVNETHDRSZ");
}

/** Tells a tap what the guest takes unfinished: `TUN_F_*` flags; a kernel without UFO goes without. Throws `SYSCALL_FAILED`. */
export function setTapOffloads(fd: number, flags: number): void {
  let result = tryIoctl(fd, TUNSETOFFLOAD, flags);
  if (result === -EINVAL && (flags & TUN_F_UFO) !== 0) result = tryIoctl(fd, TUNSETOFFLOAD, flags & ~TUN_F_UFO);
  check(result, "TUNSETOFFLOAD");
}

/** Has the kernel give packets to this queue of a tap of several, or not; nothing if it is so. Throws `SYSCALL_FAILED`. */
export function attachTapQueue(fd: number, attached: boolean): void {
  const request = new Uint8Array(ifreq.size);
  new DataView(request.buffer).setUint16(ifreq.ifr_flags, attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE, true);
  const result = tryIoctl(fd, TUNSETQUEUE, request);
  // The answer where it is so already.
  if (result !== -EINVAL) check(result, "TUNSETQUEUE");
}

function check(result: number, what: string): void {
  if (result < 0) throwErrno(`ioctl ${what}`, -result);
}
