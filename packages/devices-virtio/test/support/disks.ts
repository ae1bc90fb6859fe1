import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fd, O_DIRECT, O_RDWR, open } from "@baton/linux";
import type { Aio } from "../../src/blk/image/ring.js";
import type { BlkDeviceOptions } from "../../src/blk/options.js";
import { BlkDriver } from "./blk-driver.js";
import { MmioBench } from "./mmio-bench.js";
import { features } from "./world.js";

/** Bytes of an image, all of them 7. */
export const DISK_BYTES = 1 << 20;
export const DISK_SECTORS = DISK_BYTES / 512;
/** SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, DISCARD, WRITE_ZEROES. */
export const DISK_FEATURES =
  (1n << 2n) | (1n << 6n) | (1n << 9n) | (1n << 10n) | (1n << 11n) | (1n << 13n) | (1n << 14n);

/** How a disk differs from a plain one. */
export interface DiskChanges extends Partial<Omit<BlkDeviceOptions, "direct">> {
  readonly path?: string;
  /** Beside O_DIRECT. */
  readonly flags?: number;
  readonly direct?: boolean;
  readonly aio?: Aio;
  /** What the driver accepts. */
  readonly bits?: bigint;
  /** Where the device comes from: the package's own unless given. */
  readonly module?: string;
  readonly factory?: string;
}

/** A disk with a driver that is up. */
export interface Disk {
  readonly bench: MmioBench;
  readonly driver: BlkDriver;
  readonly path: string;
}

/** The disks of a test file, on images in a directory of its own. */
export class Disks {
  readonly directory: string;
  readonly #fds: Fd[] = [];
  readonly #benches: MmioBench[] = [];

  /** Below `parent`: for direct I/O a file system that has it. */
  constructor(parent: string) {
    this.directory = mkdtempSync(join(parent, "temp-disks-"));
  }

  /** A new image. */
  image(path = join(this.directory, "disk.img")): string {
    writeFileSync(path, new Uint8Array(DISK_BYTES).fill(7));
    return path;
  }

  /** Opens a file until the next `close`. */
  fd(path: string, flags: number): number {
    const fd = open(path, flags);
    this.#fds.push(fd);
    return fd.raw;
  }

  /** What a device is made with. */
  options(changes: DiskChanges = {}): BlkDeviceOptions {
    const {
      path = this.image(),
      flags = O_RDWR,
      direct = false,
      aio,
      bits: _bits,
      module: _,
      factory: __,
      ...options
    } = changes;
    const fd = options.image ? -1 : this.fd(path, flags | (direct ? O_DIRECT : 0));
    const bufferedFd = direct ? this.fd(path, flags) : -1;
    return {
      ...{ image: { kind: "raw", fd, bufferedFd, ...(aio && { aio }) }, path, direct, readOnly: false },
      ...{ queues: 1, queueSize: 64, serial: "SERIAL", discard: true, detectZeroes: "off" },
      ...{ readError: "report", writeError: "enospc", limits: {}, ...options },
    };
  }

  async open(changes: DiskChanges = {}): Promise<Disk> {
    const { bits = DISK_FEATURES, module, factory = "createBlkDevice" } = changes;
    const options = this.options(changes);
    const from = module ?? new URL("../../src/devices.ts", import.meta.url).href;
    const bench = await MmioBench.make({ module: from, factory, options, queues: options.queues });
    this.#benches.push(bench);
    const queues = Array.from({ length: options.queues }, (_, i) => i);
    bench.start(bits, features({ eventIndex: true, indirect: true }), queues);
    return { bench, driver: new BlkDriver(bench), path: options.path };
  }

  /** Another device takes over from a disk: the same, but for changes. */
  async move(disk: Disk, changes: DiskChanges): Promise<Disk> {
    const bench = await disk.bench.moved(disk.bench.save(), { options: this.options({ path: disk.path, ...changes }) });
    this.#benches.splice(this.#benches.indexOf(disk.bench), 1, bench);
    disk.driver.bench = bench;
    return { ...disk, bench };
  }

  /** Runs with a sparse file on a file system that is all but full, and with what makes room on it; closes what is open. */
  async onFullFileSystem(run: (path: string, makeRoom: () => void) => Promise<void>): Promise<void> {
    const mount = join(this.directory, "small");
    mkdirSync(mount, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", mount]);
    try {
      const path = join(mount, "disk.img");
      const filler = join(mount, "filler");
      writeFileSync(path, "");
      truncateSync(path, DISK_BYTES);
      writeFileSync(filler, new Uint8Array(100 << 10));
      await run(path, () => rmSync(filler));
    } finally {
      this.close();
      execFileSync("umount", [mount]);
    }
  }

  /** Closes what is open. */
  close(): void {
    for (const bench of this.#benches.splice(0)) bench.close();
    for (const fd of this.#fds.splice(0)) fd.close();
  }

  /** Removes the directory. */
  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A discard or write-zeroes segment. */
export function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const data = new DataView(bytes.buffer);
  data.setBigUint64(0, BigInt(sector), true);
  data.setUint32(8, sectors, true);
  data.setUint32(12, flags, true);
  return bytes;
}
