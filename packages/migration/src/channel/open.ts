import { throwIfAborted } from "@baton/linux";
import { formatMigrationAddress, type MigrationAddress, parseMigrationAddress } from "./address.js";
import type { Channel, ChannelListener, ChannelOptions } from "./channel.js";
import type { DescriptorChannel } from "./descriptor-channel.js";
import { readExecChannel, writeExecChannel } from "./exec.js";
import { fdChannel } from "./fd.js";
import { readFileChannel, writeFileChannel } from "./file.js";
import { connectTcp, listenTcp } from "./tcp.js";
import { connectUnix, listenUnix } from "./unix.js";

/** How to open a channel. */
export interface OpenChannelOptions extends ChannelOptions {
  /** The descriptor that was handed over under a name, for `fd:NAME`. */
  readonly findFd?: ((name: string) => number | undefined) | undefined;
}

function addressOf(address: MigrationAddress | string): MigrationAddress {
  return typeof address === "string" ? parseMigrationAddress(address) : address;
}

/** Opens a channel to write a stream to; sockets connect. Throws `CHANNEL_ADDRESS`, `CHANNEL_OPEN` or `CHANNEL_TIMEOUT`. */
export async function openOutgoing(
  where: MigrationAddress | string,
  options: OpenChannelOptions = {},
): Promise<Channel> {
  const address = addressOf(where);
  throwIfAborted(options.signal);
  switch (address.kind) {
    case "file":
      return started(writeFileChannel(address), options);
    case "unix":
      return connectUnix(address, options);
    case "tcp":
      return connectTcp(address, options);
    case "fd":
      return started(fdChannel(address, options.findFd), options);
    case "exec":
      return started(writeExecChannel(address), options);
    default:
      throw address satisfies never;
  }
}

/**
 * Opens a place that a stream comes from; sockets listen, and `accept` gives the channel. What is no socket has one
 * channel to give. Throws `CHANNEL_ADDRESS`, `CHANNEL_OPEN`, `SOCKET_IN_USE` or `SOCKET_PATH`.
 */
export async function listenIncoming(
  where: MigrationAddress | string,
  options: OpenChannelOptions = {},
): Promise<ChannelListener> {
  const address = addressOf(where);
  throwIfAborted(options.signal);
  switch (address.kind) {
    case "unix":
      return listenUnix(address);
    case "tcp":
      return listenTcp(address);
    case "file":
      return single(formatMigrationAddress(address), readFileChannel(address));
    case "fd":
      return single(formatMigrationAddress(address), fdChannel(address, options.findFd));
    case "exec":
      return single(formatMigrationAddress(address), readExecChannel(address));
    default:
      throw address satisfies never;
  }
}

/** Opens a channel to read a stream from; sockets wait for the first connection. Throws like {@link listenIncoming}. */
export async function openIncoming(
  where: MigrationAddress | string,
  options: OpenChannelOptions = {},
): Promise<Channel> {
  const listener = await listenIncoming(where, options);
  try {
    return await listener.accept(options);
  } finally {
    await listener.close();
  }
}

async function started(channel: DescriptorChannel, options: ChannelOptions): Promise<Channel> {
  try {
    await channel.started(options);
    return channel;
  } catch (error) {
    await channel.close();
    throw error;
  }
}

function single(address: string, channel: DescriptorChannel): ChannelListener {
  let given = false;
  const close = async () => {
    if (!given) await channel.close();
  };
  return {
    address,
    accept(options = {}) {
      given = true;
      return started(channel, options);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
