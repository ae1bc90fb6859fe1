import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type AptOptions, candidateVersion, dependencyOf, unpackPackage } from "./apt.js";
import { cached, cacheRoot } from "./cache.js";
import { TestbedError } from "./errors.js";
import { decodeLz4Legacy } from "./lz4.js";

const META_PACKAGE = "linux-image-cloud-amd64";
/** Offsets in the setup header of a bzImage (Linux x86 boot protocol 2.08). */
const SETUP_SECTS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

/** Debian's cloud kernel, unpacked in the cache. */
export interface Kernel {
  /** What `uname -r` says under it, for example `6.1.0-56-cloud-amd64`. */
  readonly release: string;
  /** The package's version, for example `6.1.192-2`. */
  readonly version: string;
  /** The compressed image, for the Linux boot protocol. */
  readonly bzImage: string;
  /** The ELF image, with a PVH note, for a direct start. */
  readonly vmlinux: string;
  /** The directory below which the modules (`.ko`) lie. */
  readonly modules: string;
}

/** Cuts the ELF image out of a bzImage whose payload is LZ4, as Debian's are. */
export function vmlinuxOf(bzImage: Buffer): Buffer {
  const setupSectors = bzImage[SETUP_SECTS] || 4;
  const start = (setupSectors + 1) * 512 + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(PAYLOAD_LENGTH));
  const size = payload.readUInt32LE(payload.length - 4);
  const vmlinux = decodeLz4Legacy(payload.subarray(0, -4), size);
  if (vmlinux.readUInt32BE(0) !== 0x7f454c46) {
    throw new TestbedError("KERNEL_UNUSABLE", "the payload of the bzImage is no ELF image");
  }
  return vmlinux;
}

/** The newest kernel that the cache holds. */
async function cachedKernel(): Promise<Kernel | undefined> {
  const root = join(cacheRoot(), "kernel");
  const entries = (await readdir(root).catch(() => [])).filter((name) => !name.includes(".tmp-"));
  const newest = entries.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).pop();
  return newest === undefined ? undefined : describe(join(root, newest));
}

function describe(directory: string): Kernel {
  const [release = "", version = ""] = basename(directory).split("_");
  return {
    release,
    version,
    bzImage: join(directory, "vmlinuz"),
    vmlinux: join(directory, "vmlinux"),
    modules: join(directory, "package", "lib", "modules", release, "kernel"),
  };
}

/**
 * Gives Debian's cloud kernel. One that the cache holds is used as it is, unless `$BATON_TESTBED_UPDATE` asks for the
 * archive's newest; otherwise it is downloaded and unpacked (not installed).
 */
export async function ensureKernel(options: AptOptions): Promise<Kernel> {
  const known = process.env.BATON_TESTBED_UPDATE ? undefined : await cachedKernel();
  if (known !== undefined) return known;
  const packageName = await dependencyOf(META_PACKAGE, options);
  const release = packageName.replace(/^linux-image-/, "");
  const directory = await cached(`kernel/${release}_${await candidateVersion(packageName)}`, async (temporary) => {
    await mkdir(join(temporary, "package"), { recursive: true });
    await unpackPackage(packageName, join(temporary, "package"), options);
    const boot = join(temporary, "package", "boot");
    const image = (await readdir(boot)).find((name) => name.startsWith("vmlinuz-"));
    if (image === undefined) throw new TestbedError("KERNEL_UNUSABLE", `${packageName} holds no kernel image`);
    await rename(join(boot, image), join(temporary, "vmlinuz"));
    await writeFile(join(temporary, "vmlinux"), vmlinuxOf(await readFile(join(temporary, "vmlinuz"))));
  });
  return describe(directory);
}
