import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BatonError, bootId, getpid, processStartTime } from "@baton/linux";
import { aVmName, isAlive, readEntry, type VmEntry, type VmSockets, writeEntry } from "./entry.js";
import { makeRuntimeDirectory, runtimeDirectoryPath } from "./location.js";
import { withDirectoryLock } from "./lock.js";

/** This process's entry in the runtime directory, by which `baton ps` and others find the VM. */
export class Registration {
  readonly name: string;
  readonly #parent: string;
  readonly #directory: string;
  #entry: VmEntry;

  private constructor(parent: string, entry: VmEntry) {
    this.name = entry.name;
    this.#parent = parent;
    this.#directory = join(parent, entry.name);
    this.#entry = entry;
  }

  /**
   * Takes a name; what a dead process left under it is removed. Errors: `NAME_INVALID`, `NAME_IN_USE` where a VM of this
   * name runs, `RUNTIME_DIRECTORY`.
   */
  static take(name: string, parent: string = runtimeDirectoryPath()): Registration {
    aVmName(name);
    makeRuntimeDirectory(parent);
    const pid = getpid();
    const entry: VmEntry = {
      name,
      pid,
      startTime: processStartTime(pid) as bigint,
      bootId: bootId(),
      since: Date.now(),
      sockets: {},
    };
    const registration = new Registration(parent, entry);
    withDirectoryLock(parent, () => registration.#claim());
    return registration;
  }

  /** A path for one of the VM's sockets. */
  path(file: string): string {
    return join(this.#directory, file);
  }

  /** Tells where the VM can be talked to. */
  publish(sockets: VmSockets): void {
    this.#entry = { ...this.#entry, sockets };
    writeEntry(this.#directory, this.#entry);
  }

  /** Gives the name back, if it is still ours. May be called again. */
  close(): void {
    withDirectoryLock(this.#parent, () => {
      const now = readEntry(this.#directory);
      if (now?.pid !== this.#entry.pid || now.startTime !== this.#entry.startTime) return;
      rmSync(this.#directory, { recursive: true, force: true });
    });
  }

  #claim(): void {
    const there = readEntry(this.#directory);
    if (there !== undefined && isAlive(there)) {
      throw new BatonError("NAME_IN_USE", `A VM named '${this.name}' runs already, as process ${there.pid}`, {
        hint: "Choose another -name; `baton ps` lists the VMs",
      });
    }
    rmSync(this.#directory, { recursive: true, force: true });
    mkdirSync(this.#directory, { mode: 0o700 });
    writeEntry(this.#directory, this.#entry);
  }
}
