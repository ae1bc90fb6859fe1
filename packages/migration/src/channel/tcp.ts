import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { BatonError, listen, localAddress, throwIfAborted } from "@baton/linux";
import { formatMigrationAddress, type MigrationAddress, socketAddress } from "./address.js";
import type { Channel, ChannelListener, ChannelOptions } from "./channel.js";
import { connectSocket, SocketListener } from "./socket-channel.js";

type TcpAddress = MigrationAddress & { kind: "tcp" };

/** The address with an IP address in place of a name. */
async function resolved(address: TcpAddress): Promise<TcpAddress> {
  if (address.host === "" || isIP(address.host)) return address;
  try {
    return { ...address, host: (await lookup(address.host)).address };
  } catch (error) {
    const name = formatMigrationAddress(address);
    throw new BatonError("CHANNEL_OPEN", `${name}: the host's name cannot be resolved`, { cause: error });
  }
}

/** Connects to a TCP port. Throws `CHANNEL_OPEN` or `CHANNEL_TIMEOUT`. */
export async function connectTcp(address: TcpAddress, options: ChannelOptions = {}): Promise<Channel> {
  const found = await resolved(address);
  throwIfAborted(options.signal);
  const target: TcpAddress = found.host === "" ? { ...found, host: "127.0.0.1" } : found;
  return connectSocket(socketAddress(target), formatMigrationAddress(address), options);
}

/** Listens at a TCP port, on all IPv4 addresses where no host is given; port 0 finds one. Throws `CHANNEL_OPEN`. */
export async function listenTcp(address: TcpAddress): Promise<ChannelListener> {
  const found = await resolved(address);
  try {
    const fd = listen(socketAddress(found), { nonblock: true });
    const local = localAddress(fd);
    const port = local?.kind === "inet" ? local.port : address.port;
    return new SocketListener(fd, formatMigrationAddress({ ...address, port }));
  } catch (error) {
    const { message, errno, errnoName, syscall } = BatonError.from(error, "CHANNEL_OPEN");
    const name = formatMigrationAddress(address);
    throw new BatonError("CHANNEL_OPEN", `${name}: ${message}`, { cause: error, errno, errnoName, syscall });
  }
}
