import { createRequire } from "node:module";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { DeviceThread, type ServiceHandle } from "@baton/core-kvm";
import { Fd } from "@baton/linux";
import { ClientDescriptors } from "../../command/client-descriptors.js";
import type { SocketServiceEvent } from "./socket-service.js";

const here = createRequire(import.meta.url);

/** A client of a UNIX socket. */
export interface UnixClient {
  readonly input: Readable;
  readonly output: Socket;
  /** What it has sent beside its commands. */
  readonly descriptors: ClientDescriptors;
}

/** The clients of a UNIX socket, one at a time, received by a thread of their own with the descriptors that they send. */
export class UnixClients {
  readonly #thread: DeviceThread;
  readonly #onClient: (client: UnixClient) => void;
  #service: ServiceHandle | undefined;
  #client: UnixClient | undefined;
  /** Whether nothing is received from it at the moment. */
  #paused = true;
  #closed = false;

  private constructor(thread: DeviceThread, onClient: (client: UnixClient) => void) {
    this.#thread = thread;
    this.#onClient = onClient;
  }

  /** Begins to take clients of a listening socket, which stays the caller's. */
  static async start(listener: Fd, onClient: (client: UnixClient) => void): Promise<UnixClients> {
    const clients = new UnixClients(await DeviceThread.start(), onClient);
    const module = pathToFileURL(here.resolve("@baton/reference-vmm/qmp-socket")).href;
    const options = { listener: listener.raw };
    try {
      clients.#service = await clients.#thread.serve(
        { module, factory: "qmpSocketService", options },
        { onEvent: (event) => clients.#onEvent(event as SocketServiceEvent) },
      );
    } catch (error) {
      await clients.#thread.release();
      throw error;
    }
    return clients;
  }

  /** Ends the connection of the client. */
  drop(): void {
    this.#client?.descriptors.close();
    this.#client = undefined;
    this.#tell("drop");
  }

  /** Takes the next client, after {@link drop}. */
  next(): void {
    this.#tell("accept");
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.drop();
    await this.#service?.close();
    await this.#thread.release();
  }

  #tell(method: "accept" | "drop" | "pause" | "resume"): void {
    // Closed by now, or failed: there are no clients any more.
    this.#service?.call(method).catch(() => {});
  }

  #onEvent(event: SocketServiceEvent): void {
    if (event.type === "connected") this.#connected(event.fd);
    else if (event.type === "end") this.#client?.input.push(null);
    else {
      const fds = event.fds.map((raw) => Fd.adopt(raw, "sent to QMP"));
      if (this.#client === undefined) for (const fd of fds) fd.close();
      else {
        for (const fd of fds) this.#client.descriptors.receive(fd);
        if (this.#client.input.push(event.bytes)) return;
        this.#paused = true;
        this.#tell("pause");
      }
    }
  }

  #connected(fd: number): void {
    if (this.#closed) {
      Fd.adopt(fd, "client of QMP").close();
      return;
    }
    const output = new Socket({ fd, readable: false, writable: true });
    this.#paused = true;
    const read = () => {
      if (this.#paused) this.#tell("resume");
      this.#paused = false;
    };
    const input = new Readable({ read });
    this.#client = { input, output, descriptors: new ClientDescriptors() };
    this.#onClient(this.#client);
  }
}
