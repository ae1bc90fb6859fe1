import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

const S_IFDIR = constants.S_IFDIR;
const S_IFREG = constants.S_IFREG;
const S_IFLNK = constants.S_IFLNK;
const S_IFCHR = constants.S_IFCHR;

/**
 * Writes a cpio archive of the kind that Linux unpacks as its initial file system ("newc", Documentation/driver-api/
 * early-userspace/buffer-format.rst): owned by root, with time stamps of zero, so that equal input gives equal bytes.
 */
export class CpioWriter {
  readonly #file: FileHandle;
  readonly #directories = new Set<string>([""]);
  #inode = 0;
  #position = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Starts an archive in a new file. */
  static async create(path: string): Promise<CpioWriter> {
    return new CpioWriter(await open(path, "w"));
  }

  /** Adds a directory and those above it; one that is there already is left as it is. */
  async directory(path: string): Promise<void> {
    const clean = path.replace(/^\/+|\/+$/g, "");
    if (this.#directories.has(clean)) return;
    await this.directory(clean.split("/").slice(0, -1).join("/"));
    this.#directories.add(clean);
    await this.#entry(clean, S_IFDIR | 0o755, Buffer.alloc(0));
  }

  /** Adds a regular file, and the directories above it. */
  async file(path: string, content: Buffer | string, mode = 0o644): Promise<void> {
    await this.#parents(path);
    await this.#entry(path, S_IFREG | mode, typeof content === "string" ? Buffer.from(content) : content);
  }

  /** Adds a symbolic link. */
  async symlink(path: string, target: string): Promise<void> {
    await this.#parents(path);
    await this.#entry(path, S_IFLNK | 0o777, Buffer.from(target));
  }

  /** Adds a character device, such as `/dev/console` (5, 1), which the kernel wants before `/init` runs. */
  async characterDevice(path: string, major: number, minor: number): Promise<void> {
    await this.#parents(path);
    await this.#entry(path, S_IFCHR | 0o600, Buffer.alloc(0), major, minor);
  }

  /** Ends the archive and closes its file. */
  async close(): Promise<void> {
    await this.#entry("TRAILER!!!", 0, Buffer.alloc(0));
    await this.#write(Buffer.alloc((512 - (this.#position % 512)) % 512));
    await this.#file.close();
  }

  async #parents(path: string): Promise<void> {
    await this.directory(path.replace(/^\/+/, "").split("/").slice(0, -1).join("/"));
  }

  async #entry(path: string, mode: number, content: Buffer, major = 0, minor = 0): Promise<void> {
    const name = Buffer.from(`${path.replace(/^\/+/, "")}\0`);
    const fields = [++this.#inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
    const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
    await this.#write(Buffer.concat([header, name]));
    await this.#pad();
    await this.#write(content);
    await this.#pad();
  }

  async #pad(): Promise<void> {
    await this.#write(Buffer.alloc((4 - (this.#position % 4)) % 4));
  }

  async #write(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    await this.#file.writeFile(bytes);
    this.#position += bytes.length;
  }
}
