import {
  BatonError,
  connect,
  Fd,
  SO_SNDBUF,
  SOL_SOCKET,
  type SocketAddress,
  setSocketOption,
  shutdown,
} from "@baton/linux";
import { type Channel, type ChannelListener, type ChannelOptions, DEFAULT_TIMEOUT_MS } from "./channel.js";
import { ChannelThread } from "./channel-thread.js";
import { type ChannelEnds, DescriptorChannel } from "./descriptor-channel.js";
import { owning } from "./file.js";

/** Bytes on the way, so that either side works while the other does: up to what `net.core.wmem_max` allows. */
const SEND_BUFFER = 2 ** 20;

/** Tells the peer that this was all, and waits until it has taken everything and goes away as well. */
export function socketEnds(fd: Fd): ChannelEnds {
  return {
    async end(run) {
      shutdown(fd, "write");
      await run({ op: "await-end" });
    },
  };
}

/** Connects a stream socket. Throws `CHANNEL_OPEN` where nobody listens. */
export async function connectSocket(
  socket: SocketAddress,
  address: string,
  options: ChannelOptions = {},
): Promise<Channel> {
  let channel: DescriptorChannel | undefined;
  try {
    const fd = connect(socket, { nonblock: true });
    channel = owning(fd, () => {
      // TCP finds its own size.
      if (socket.kind !== "inet") setSocketOption(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
      return new DescriptorChannel(fd, address, socketEnds(fd));
    });
    await channel.connected(options);
    return channel;
  } catch (error) {
    await channel?.close();
    if (!BatonError.is(error) || options.signal?.aborted || error.code === "CHANNEL_TIMEOUT") throw error;
    const { errno, errnoName, syscall } = error;
    throw new BatonError("CHANNEL_OPEN", `${address}: ${error.message}`, { cause: error, errno, errnoName, syscall });
  }
}

/** A listening socket, which it owns; `closed` is called once after it is closed. */
export class SocketListener implements ChannelListener {
  readonly address: string;
  readonly #fd: Fd;
  readonly #closed: () => void;
  readonly #threads = new Set<ChannelThread>();
  #closing: Promise<void> | undefined;

  constructor(fd: Fd, address: string, closed: () => void = () => {}) {
    this.#fd = fd;
    this.address = address;
    this.#closed = closed;
  }

  async accept(options: ChannelOptions = {}): Promise<Channel> {
    if (this.#closing) throw new BatonError("CHANNEL_CLOSED", `${this.address}: the listener is closed`);
    const thread = new ChannelThread();
    this.#threads.add(thread);
    try {
      const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
      const target = { fd: this.#fd.raw, address: this.address, position: undefined, timeoutMs };
      const raw = await thread.run<number>(target, { op: "accept" }, options);
      const fd = Fd.adopt(raw, `connection of ${this.address}`);
      return owning(fd, () => new DescriptorChannel(fd, this.address, socketEnds(fd), 0, thread));
    } catch (error) {
      await thread.close();
      throw error;
    } finally {
      this.#threads.delete(thread);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.close()));
    if (this.#fd.closed) return;
    this.#fd.close();
    this.#closed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
