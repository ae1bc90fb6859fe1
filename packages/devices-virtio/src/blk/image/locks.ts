import { BatonError, type Fd, fdatasync, setOfdLock } from "@baton/linux";

interface Lock {
  readonly fd: Fd;
  readonly path: string;
  readonly type: "read" | "write";
}

/**
 * The locks of a disk's files: many readers, or one writer. They live as long as the open files, and may be given up and
 * taken again while these stay open.
 */
export class ImageLocks {
  readonly #id: string;
  readonly #locks: Lock[] = [];
  #held: boolean;

  /** `id` is the disk's, for messages. With `later`, nothing is locked until {@link ImageLocks.take}. */
  constructor(id: string, later: boolean) {
    this.#id = id;
    this.#held = !later;
  }

  /** Adds a file, and locks it if the others are locked. Throws `IMAGE_LOCKED`. */
  add(fd: Fd, path: string, type: "read" | "write"): void {
    const lock = { fd, path, type };
    if (this.#held) this.#take(lock);
    this.#locks.push(lock);
  }

  /** Locks all files, or none. Throws `IMAGE_LOCKED`. */
  take(): void {
    if (this.#held) return;
    const taken: Lock[] = [];
    try {
      for (const lock of this.#locks) {
        this.#take(lock);
        taken.push(lock);
      }
    } catch (error) {
      for (const { fd } of taken) setOfdLock(fd, { type: "unlock" });
      throw error;
    }
    this.#held = true;
  }

  /** Makes durable what was written, and unlocks all files. Throws `SYSCALL_FAILED`; the locks are held then. */
  giveUp(): void {
    if (!this.#held) return;
    for (const { fd, type } of this.#locks) if (type === "write") fdatasync(fd);
    for (const { fd } of this.#locks) setOfdLock(fd, { type: "unlock" });
    this.#held = false;
  }

  #take({ fd, path, type }: Lock): void {
    if (setOfdLock(fd, { type })) return;
    const use = type === "read" ? "is being written" : "is in use";
    throw new BatonError("IMAGE_LOCKED", `${this.#id}: the image ${path} ${use} by another virtual machine or device`, {
      hint: "Stop the other one, or open it read-only in both",
      details: { path },
    });
  }
}
