import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { cached, prune } from "./cache.js";
import { runCommand } from "./command.js";
import { CpioWriter } from "./cpio.js";
import type { Kernel } from "./kernel.js";
import { orderModules } from "./modules.js";
import { packageDirectory, repository } from "./packages.js";

/** Loaded at every start of the testbed, in this order (`virtio_ring` must come before `virtio`). */
const DEFAULT_MODULES = [
  ["virtio_ring", "virtio", "virtio_pci", "virtio_blk"],
  ["irqbypass", "kvm", "kvm_amd", "vfio", "vfio_virqfd", "vfio_pci_core", "vfio_pci", "vfio_iommu_type1"],
  ["vhost_iotlb", "vhost", "tun", "tap", "vhost_net", "vsock", "vhost_vsock"],
].flat();

/** On board, loaded only when a run asks for them (`modules`), or by `load-modules NAME` inside. */
const OPTIONAL_MODULES = [
  ["libnvdimm", "nfit", "nd_btt", "nd_pmem", "dax_pmem", "device_dax", "kvm_intel"],
  ["virtio_net", "virtio_console", "virtio_rng", "virtio_balloon", "virtio_mmio", "vsock_loopback"],
  ["loop", "bridge", "veth"],
].flat();

/** Counts up when the way of building changes. */
const FORMAT = 2;

/** The packages with native parts, by the folder of the package of this repository that needs them. */
const NATIVE: Readonly<Record<string, readonly [name: string, nativePart: string]>> = {
  linux: ["koffi", `@koromix/koffi-linux-${process.arch}`],
  migration: ["@node-rs/crc32", `@node-rs/crc32-linux-${process.arch}-gnu`],
};

/** The directories of {@link NATIVE}. Links are resolved: pnpm's are links. */
function nativeDirectories(): Map<string, string> {
  const directories = new Map<string, string>();
  for (const [folder, [name, nativePart]] of Object.entries(NATIVE)) {
    const directory = packageDirectory(name, join(repository, "packages", folder, "package.json"));
    directories.set(name, directory);
    directories.set(nativePart, packageDirectory(nativePart, join(directory, "package.json")));
  }
  return directories;
}

async function librariesOf(program: string): Promise<string[]> {
  const output = await runCommand("ldd", [program]);
  return [...output.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map((match) => match[1]!);
}

/** The native parts of packages. */
async function nativeParts(directories: Iterable<string>): Promise<string[]> {
  const found: string[] = [];
  for (const directory of directories) {
    for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
      if (entry.isFile() && entry.name.endsWith(".node")) found.push(join(entry.parentPath, entry.name));
    }
  }
  return found;
}

/**
 * Gives the testbed's initial file system, an uncompressed cpio archive: busybox, this machine's node, packages with
 * native parts in `/node_modules`, the libraries of both, the kernel's modules, `/init`. Built again only when one of
 * these changes.
 */
export async function ensureBaseImage(kernel: Kernel, log: (line: string) => void): Promise<string> {
  const init = await readFile(new URL("../assets/init.sh", import.meta.url));
  const packages = nativeDirectories();
  const node = process.execPath;
  const inputs = createHash("sha256");
  inputs.update(JSON.stringify([...packages.keys()]));
  inputs.update(JSON.stringify([FORMAT, kernel.release, kernel.version, DEFAULT_MODULES, OPTIONAL_MODULES]));
  for (const path of [node, "/bin/busybox"]) {
    const { size, mtimeMs } = await stat(path);
    inputs.update(JSON.stringify([path, size, mtimeMs]));
  }
  for (const directory of packages.values()) inputs.update(await readFile(join(directory, "package.json")));
  inputs.update(init);
  await prune("base");
  return cached(`base/${inputs.digest("hex").slice(0, 16)}.cpio`, async (temporary) => {
    log("building the testbed's file system");
    const image = await CpioWriter.create(temporary);
    await image.file("init", init, 0o755);
    await image.characterDevice("dev/console", 5, 1);
    for (const directory of ["proc", "sys", "tmp", "root", "test", "run", "mnt"]) await image.directory(directory);
    await addBusybox(image);
    await image.file("bin/node", await readFile(node), 0o755);
    await image.symlink("usr/bin/node", "/bin/node");
    await image.symlink("usr/bin/env", "/bin/env");
    const programs = [node, ...(await nativeParts(packages.values()))];
    const libraries = new Set((await Promise.all(programs.map(librariesOf))).flat());
    for (const library of libraries) await image.file(library, await readFile(library), 0o755);
    for (const [name, directory] of packages) await addTree(image, join("node_modules", name), directory);
    const ordered = await orderModules(kernel.modules, [...DEFAULT_MODULES, ...OPTIONAL_MODULES]);
    for (const module of ordered) await image.file(`modules/${module.name}.ko`, await readFile(module.path));
    await image.file("modules/order", ordered.map(({ name, before }) => `${name}:${before.join(" ")}\n`).join(""));
    const optional = new Set(OPTIONAL_MODULES);
    const byDefault = (await orderModules(kernel.modules, DEFAULT_MODULES)).filter(({ name }) => !optional.has(name));
    await image.file("modules/default", byDefault.map(({ name }) => `${name}\n`).join(""));
    await image.close();
  });
}

/** Adds the static busybox and a link for each of its programs. */
export async function addBusybox(image: CpioWriter): Promise<void> {
  await image.file("bin/busybox", await readFile("/bin/busybox"), 0o755);
  const programs = (await runCommand("/bin/busybox", ["--list"])).trim().split("\n");
  for (const name of programs) if (name !== "busybox") await image.symlink(`bin/${name}`, "busybox");
  await image.symlink("sbin", "bin");
}

async function addTree(image: CpioWriter, path: string, from: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [target, source] = [join(path, entry.name), join(from, entry.name)];
    if (entry.isDirectory() && basename(source) !== "node_modules") await addTree(image, target, source);
    else if (entry.isFile()) await image.file(target, await readFile(source), (await stat(source)).mode & 0o777);
  }
}
