import { BatonError, type Fd } from "@baton/linux";

/** How a file name refers to a set: `/dev/fdset/3`. */
const NAME = /^\/dev\/fdset\/(\d{1,9})$/;
/** The most descriptors in all sets together. */
const MAX_FDS = 253;

/** A descriptor of a set. */
export interface FdSetEntry {
  readonly setId: number;
  readonly fd: number;
}

/** Descriptors that a client has given for good, in numbered sets, to be used as files (QEMU's `add-fd`). */
export class FdSets {
  readonly #sets = new Map<number, Fd[]>();

  /** Puts a descriptor into a set, a new one unless `setId` names one; it is the sets' from now on. */
  add(fd: Fd, setId?: number): FdSetEntry {
    const count = [...this.#sets.values()].reduce((sum, set) => sum + set.length, 0);
    if (count >= MAX_FDS) throw new BatonError("FD_LIMIT", `There are ${MAX_FDS} descriptors in sets already`);
    if (setId !== undefined && (setId < 0 || setId > 999_999_999)) {
      throw new BatonError("INVALID_ARGUMENT", `Parameter 'fdset-id' expects a number from 0 to 999999999`);
    }
    const id = setId ?? this.#free();
    const set = this.#sets.get(id) ?? [];
    this.#sets.set(id, [...set, fd]);
    return { setId: id, fd: fd.raw };
  }

  /** Closes a descriptor of a set, or all. Fails with `FD_NOT_FOUND`. */
  remove(setId: number, fd?: number): void {
    const set = this.#sets.get(setId) ?? [];
    const gone = set.filter(({ raw }) => fd === undefined || raw === fd);
    if (gone.length === 0) throw new BatonError("FD_NOT_FOUND", `There is no descriptor ${fd ?? ""} in set ${setId}`);
    const left = set.filter((each) => !gone.includes(each));
    if (left.length === 0) this.#sets.delete(setId);
    else this.#sets.set(setId, left);
    for (const each of gone) each.close();
  }

  /** The path to open for a file name: another one for `/dev/fdset/N`. Fails with `FD_NOT_FOUND`. */
  resolve(path: string): string {
    const id = NAME.exec(path)?.[1];
    if (id === undefined) return path;
    const [fd] = this.#sets.get(Number(id)) ?? [];
    if (fd === undefined) throw new BatonError("FD_NOT_FOUND", `There is no set of descriptors ${id}`);
    return `/proc/self/fd/${fd.raw}`;
  }

  close(): void {
    for (const set of this.#sets.values()) for (const fd of set) fd.close();
    this.#sets.clear();
  }

  #free(): number {
    let id = 0;
    while (this.#sets.has(id)) id++;
    return id;
  }
}
