import type { ConnectionPorts, VsockConnection } from "./connection.js";

/** All connections of a device by their ports, and those in turn that may have something for the guest. */
export class ConnectionTable {
  readonly #all = new Map<string, VsockConnection>();
  readonly #ready = new Set<VsockConnection>();

  get size(): number {
    return this.#all.size;
  }

  /** Whether one of them may have something for the guest. */
  get anyReady(): boolean {
    return this.#ready.size > 0;
  }

  get(ports: ConnectionPorts): VsockConnection | undefined {
    return this.#all.get(keyOf(ports));
  }

  has(connection: VsockConnection): boolean {
    return this.#all.get(keyOf(connection)) === connection;
  }

  add(connection: VsockConnection): void {
    this.#all.set(keyOf(connection), connection);
    this.#ready.add(connection);
  }

  /** Forgets a connection; its socket is the caller's. */
  remove(connection: VsockConnection): void {
    this.#all.delete(keyOf(connection));
    this.#ready.delete(connection);
  }

  /** Puts a connection that is still there, and has something for the guest, at the end of the turn. */
  offer(connection: VsockConnection): void {
    if (connection.hasWork && this.has(connection)) this.#ready.add(connection);
  }

  /** Takes the next one in turn. */
  next(): VsockConnection | undefined {
    const [first] = this.#ready;
    if (first !== undefined) this.#ready.delete(first);
    return first;
  }

  /** A copy, so that connections may be removed meanwhile. */
  [Symbol.iterator](): IterableIterator<VsockConnection> {
    return [...this.#all.values()].values();
  }
}

function keyOf({ hostPort, guestPort }: ConnectionPorts): string {
  return `${hostPort}:${guestPort}`;
}
