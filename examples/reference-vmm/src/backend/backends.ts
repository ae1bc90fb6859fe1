import type { VirtioBlkOptions, VirtioNetOptions } from "@baton/devices-virtio";
import { BatonError, type Fd } from "@baton/linux";
import { FdSets } from "./fd-sets.js";

/** Something that has a name before a device stands on it. */
export interface Backend<T> {
  readonly id: string;
  /** What the device is made with. */
  readonly options: T;
  /** What it keeps open until it is deleted. */
  readonly fds?: readonly Fd[];
}

/** The most back ends of a kind: a client that only adds must not fill the memory. */
const MAX_BACKENDS = 64;

/** Back ends of one kind by their names. */
export class BackendList<T> {
  readonly #kind: string;
  readonly #entries = new Map<string, Backend<T>>();
  /** Those whose device has been unplugged: a new one may take the name. */
  readonly #released = new Set<string>();

  constructor(kind: string) {
    this.#kind = kind;
  }

  get ids(): readonly string[] {
    return [...this.#entries.keys()];
  }

  get(id: string): Backend<T> | undefined {
    return this.#entries.get(id);
  }

  /** Fails with `DUPLICATE_ID` where {@link add} would for this name, with `BACKEND_LIMIT` for too many. */
  check(id: string): void {
    if (this.#entries.has(id) && !this.#released.has(id)) {
      throw new BatonError("DUPLICATE_ID", `There is a ${this.#kind} '${id}' already`);
    }
    if (this.#entries.size >= MAX_BACKENDS && !this.#entries.has(id)) {
      throw new BatonError("BACKEND_LIMIT", `There are ${MAX_BACKENDS} ${this.#kind}s already: delete one first`);
    }
  }

  /** Adds one, in the place of one of the same name that was {@link release}d; its descriptors are the list's from now on. */
  add(backend: Backend<T>): void {
    this.check(backend.id);
    this.#drop(backend.id);
    this.#entries.set(backend.id, backend);
  }

  /** The device on it is gone. */
  release(id: string): void {
    if (this.#entries.has(id)) this.#released.add(id);
  }

  /** A device stands on it. */
  take(id: string): void {
    this.#released.delete(id);
  }

  /** Deletes one. Fails with `BACKEND_MISSING` where there is none. */
  delete(id: string): void {
    if (!this.#entries.has(id)) throw new BatonError("BACKEND_MISSING", `There is no ${this.#kind} '${id}'`);
    this.#drop(id);
  }

  close(): void {
    for (const id of this.ids) this.#drop(id);
  }

  #drop(id: string): void {
    for (const fd of this.#entries.get(id)?.fds ?? []) fd.close();
    this.#entries.delete(id);
    this.#released.delete(id);
  }
}

/** What a disk's node is, but for the device in front of it. */
export type BlockBackend = Omit<VirtioBlkOptions, "queues" | "queueSize" | "iothread" | "rings">;
/** What a network card stands on. */
export type NetBackend = Pick<VirtioNetOptions, "backend" | "vhost" | "queues">;

/** Back ends of a VM that surfaces have been told of, for devices that are plugged in later. */
export class Backends {
  readonly blocks = new BackendList<BlockBackend>("block node");
  readonly nets = new BackendList<NetBackend>("network back end");
  readonly fdSets = new FdSets();

  /** Closes what they hold open. */
  close(): void {
    this.blocks.close();
    this.nets.close();
    this.fdSets.close();
  }
}
