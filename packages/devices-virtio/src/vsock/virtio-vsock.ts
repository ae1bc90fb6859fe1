import { BatonError, listenPrivately, socketFile } from "@baton/linux";
import type { VirtioDeviceDescription } from "../device/description.js";
import type { RingFeatures } from "../device/features.js";
import { checkGuestCid } from "./cid.js";
import type { VsockDeviceOptions } from "./device.js";

/** Options of {@link virtioVsock}. */
export interface VirtioVsockOptions {
  readonly id: string;
  /** The guest's context id: 3 to 2^32 - 2. */
  readonly guestCid: number;
  /**
   * Where host programs connect, a UNIX socket: they write `CONNECT PORT\n` and read `OK HOSTPORT\n`. The guest's own
   * connections to port P of the host go to the socket `PATH_P`.
   */
  readonly path: string;
  readonly iothread?: string;
  readonly rings?: RingFeatures;
}

/** The longest path: a port's suffix must still fit into a UNIX address. */
const MAX_PATH = 107 - 11;

/** A socket device whose other ends are UNIX sockets of the host. Errors: `INVALID_ARGUMENT`, `SOCKET_IN_USE`, `SOCKET_PATH`. */
export function virtioVsock(options: VirtioVsockOptions): VirtioDeviceDescription {
  const { id, guestCid, path } = options;
  checkGuestCid(id, guestCid);
  if (Buffer.byteLength(path) > MAX_PATH) {
    throw new BatonError("INVALID_ARGUMENT", `${id}: the path '${path}' has more than ${MAX_PATH} bytes`);
  }
  return {
    kind: "virtio",
    model: "virtio-vsock",
    id,
    queues: 3,
    ...(options.iothread !== undefined && { iothread: options.iothread }),
    ...(options.rings && { rings: options.rings }),
    factory: "createVsockDevice",
    open(openOrFind) {
      const listener = openOrFind("vsock", id, () => listenPrivately(path));
      const file = socketFile(path);
      const device: VsockDeviceOptions = { guestCid: BigInt(guestCid), listenFd: listener.raw, path };
      return {
        options: device,
        close(handedOver) {
          if (!handedOver) file.remove();
          listener.close();
        },
      };
    },
  };
}
