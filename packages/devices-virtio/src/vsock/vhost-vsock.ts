import { BatonError, EADDRINUSE, type Fd, tryIoctl } from "@baton/linux";
import { VHOST_VSOCK_SET_GUEST_CID } from "../abi/vhost.js";
import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import { openVhost, takeVhost, type VhostKind, vhostFeatures } from "../vhost/open.js";
import { vhostError } from "../vhost/rings.js";
import { checkGuestCid, vsockConfig } from "./cid.js";
import type { VhostVsockDeviceOptions } from "./vhost-device.js";

/** Options of {@link vhostVsock}. */
export interface VhostVsockOptions {
  readonly id: string;
  /** The guest's context id: 3 to 2^32 - 2, of this guest alone on the host. */
  readonly guestCid: number;
  /** An open /dev/vhost-vsock, which stays its owner's; opened unless given. */
  readonly vhostFd?: number;
  /** The thread that serves the rest of it: events. */
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

const VHOST_VSOCK: VhostKind = {
  name: "vhost-vsock",
  path: "/dev/vhost-vsock",
  module: "vhost_vsock",
  instead: "use the socket device in user space (virtioVsock, vsock-device)",
};

/**
 * A socket device in the kernel: programs of the host reach the guest through AF_VSOCK. Errors when the machine is made:
 * `VHOST_UNAVAILABLE`, `CID_IN_USE`, `INVALID_ARGUMENT`.
 */
export function vhostVsock(options: VhostVsockOptions): VirtioDeviceDescription {
  const { id, guestCid, vhostFd } = options;
  checkGuestCid(id, guestCid);
  return {
    kind: "virtio",
    model: "vhost-vsock",
    id,
    queues: 3,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    // vhost knows split rings alone.
    rings: { ...options.rings, packed: false, inOrder: false },
    factory: "createVhostVsockDevice",
    // A vhost device belongs to the address space that owns it, so no hand-over brings one.
    open(_openOrFind, { incoming = false }) {
      const fd = vhostFd === undefined ? openVhost(id, VHOST_VSOCK) : takeVhost(id, VHOST_VSOCK, vhostFd);
      try {
        const features = vhostFeatures(id, VHOST_VSOCK, fd);
        // The machine that a state comes from still has it.
        if (!incoming) takeCid(id, fd, guestCid);
        const device: VhostVsockDeviceOptions = {
          guestCid: BigInt(guestCid),
          vhostFd: fd.raw,
          vhostFeatures: features,
        };
        return { options: device, close: () => fd.close() };
      } catch (error) {
        fd.close();
        throw error;
      }
    },
  };
}

function takeCid(id: string, fd: Fd, guestCid: number): void {
  const result = tryIoctl(fd.raw, VHOST_VSOCK_SET_GUEST_CID, vsockConfig(BigInt(guestCid)));
  if (result === 0) return;
  const cause = vhostError("VHOST_VSOCK_SET_GUEST_CID", -result);
  if (result !== -EADDRINUSE) throw new BatonError("VHOST_UNAVAILABLE", `${id}: ${cause.message}`, { cause });
  throw new BatonError("CID_IN_USE", `${id}: another guest has CID ${guestCid}`, { cause, hint: "Choose another" });
}
