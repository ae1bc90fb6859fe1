import { BatonError, type Fd } from "@baton/linux";

/** The most descriptors that wait for a command, and that have names. */
const MAX_WAITING = 16;
const MAX_NAMED = 128;

/** Descriptors that a client has sent with its commands: they are closed when it leaves, unless something has taken them. */
export class ClientDescriptors {
  /** Those that no command has taken. */
  readonly #waiting: Fd[] = [];
  readonly #named = new Map<string, Fd>();

  /** One has come; where too many wait, the oldest is closed. */
  receive(fd: Fd): void {
    this.#waiting.push(fd);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift()?.close();
  }

  /** The one that came first, for the caller to own. Fails with `FD_MISSING`. */
  takeReceived(): Fd {
    const fd = this.#waiting.shift();
    if (fd === undefined) {
      throw new BatonError("FD_MISSING", "No file descriptor supplied via SCM_RIGHTS");
    }
    return fd;
  }

  /** Names the one that came first; one of the same name is closed. Fails with `FD_MISSING`, `FD_NAME`, `FD_LIMIT`. */
  name(name: string): void {
    if (name === "" || /^\d/.test(name)) {
      this.#waiting.shift()?.close();
      throw new BatonError("FD_NAME", "Parameter 'fdname' expects a name not starting with a digit");
    }
    if (this.#named.size >= MAX_NAMED && !this.#named.has(name)) {
      this.#waiting.shift()?.close();
      throw new BatonError("FD_LIMIT", `There are ${MAX_NAMED} named descriptors already`);
    }
    const fd = this.takeReceived();
    this.#named.get(name)?.close();
    this.#named.set(name, fd);
  }

  /** The one of this name, which stays named. Fails with `FD_NOT_FOUND`. */
  get(name: string): Fd {
    const fd = this.#named.get(name);
    if (fd === undefined) throw new BatonError("FD_NOT_FOUND", `File descriptor named '${name}' has not been found`);
    return fd;
  }

  /** The one of this name, for the caller to own. Fails with `FD_NOT_FOUND`. */
  take(name: string): Fd {
    const fd = this.get(name);
    this.#named.delete(name);
    return fd;
  }

  /** Closes all. */
  close(): void {
    for (const fd of [...this.#waiting.splice(0), ...this.#named.values()]) fd.close();
    this.#named.clear();
  }
}
