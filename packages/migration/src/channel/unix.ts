import { listenPrivately, socketFile } from "@baton/linux";
import { formatMigrationAddress, type MigrationAddress, socketAddress } from "./address.js";
import type { Channel, ChannelListener, ChannelOptions } from "./channel.js";
import { connectSocket, SocketListener } from "./socket-channel.js";

type UnixAddress = MigrationAddress & { kind: "unix" };

/** Connects to a UNIX socket. Throws `CHANNEL_OPEN`. */
export function connectUnix(address: UnixAddress, options?: ChannelOptions): Promise<Channel> {
  return connectSocket(socketAddress(address), formatMigrationAddress(address), options);
}

/**
 * Listens at a path that only its owner may connect to; what a dead process left there is replaced, and the path goes
 * with the listener. Throws `SOCKET_IN_USE` or `SOCKET_PATH`.
 */
export function listenUnix(address: UnixAddress): ChannelListener {
  const fd = listenPrivately(address.path);
  const file = socketFile(address.path);
  return new SocketListener(fd, formatMigrationAddress(address), () => file.remove());
}
