import type { Service, ServiceContext } from "@baton/core-kvm";
import { accept, BatonError, dupFd, EPOLLIN, type Fd, MAX_FDS_PER_MESSAGE, recvFds } from "@baton/linux";

/** What the service of a QMP socket is told. */
export interface SocketServiceOptions {
  /** A listening UNIX socket, non-blocking. */
  readonly listener: number;
}

/** What it tells. Descriptors, by number, are the receiver's to close. */
export type SocketServiceEvent =
  | { readonly type: "connected"; readonly fd: number }
  | { readonly type: "data"; readonly bytes: Uint8Array; readonly fds: readonly number[] }
  | { readonly type: "end" };

const CHUNK = 64 << 10;

/**
 * Takes clients of a UNIX socket, one at a time, and receives what they send, with the descriptors beside it: in a
 * thread, since Node's own sockets lose them. It is asked to `drop` the client, to
 * `accept` the next one, to `pause` and to `resume`.
 */
export function qmpSocketService(context: ServiceContext): Service {
  return new SocketService(context, context.options as SocketServiceOptions);
}

class SocketService implements Service {
  readonly #context: ServiceContext;
  readonly #listener: number;
  #client: Fd | undefined;
  #endWatch: (() => void) | undefined;

  constructor(context: ServiceContext, { listener }: SocketServiceOptions) {
    this.#context = context;
    this.#listener = listener;
    this.#acceptNext();
  }

  call(method: string): void {
    this.#stop();
    if (method === "drop") {
      this.#client?.close();
      this.#client = undefined;
    } else if (method === "accept") this.#acceptNext();
    else if (method === "resume" && this.#client !== undefined) this.#receive(this.#client);
  }

  close(): void {
    this.#stop();
    this.#client?.close();
  }

  #emit(event: SocketServiceEvent): void {
    this.#context.emit(event);
  }

  #stop(): void {
    this.#endWatch?.();
    this.#endWatch = undefined;
  }

  #acceptNext(): void {
    this.#endWatch = this.#context.watch(this.#listener, EPOLLIN, () => {
      const client = accept(this.#listener, { nonblock: true });
      if (client === null) return;
      this.#stop();
      this.#client = client;
      this.#emit({ type: "connected", fd: dupFd(client).release() });
    });
  }

  #receive(client: Fd): void {
    this.#endWatch = this.#context.watch(client.raw, EPOLLIN, () => {
      try {
        const { bytes, fds } = recvFds(client, CHUNK, MAX_FDS_PER_MESSAGE, { timeoutMs: 0 });
        if (bytes.length > 0) this.#emit({ type: "data", bytes, fds: fds.map((fd) => fd.release()) });
        else this.#end();
      } catch (error) {
        // Nothing there after all.
        if (!BatonError.is(error, "TIMEOUT")) this.#end();
      }
    });
  }

  #end(): void {
    this.#stop();
    this.#emit({ type: "end" });
  }
}
