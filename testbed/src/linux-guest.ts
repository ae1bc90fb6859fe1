import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { installPackages } from "./apt.js";
import { addBusybox } from "./base-image.js";
import { cached } from "./cache.js";
import { CpioWriter } from "./cpio.js";
import { ensureKernel } from "./kernel.js";
import { orderModules } from "./modules.js";
import { type EnsureTestbedOptions, logToStderr } from "./testbed.js";

/** On board of the guest, loaded only where `baton.modules=` on its command line asks for them. */
const MODULES = [
  ["virtio_ring", "virtio", "virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng"],
  ["virtio_balloon", "vsock", "vmw_vsock_virtio_transport", "virtio_pmem", "virtio_mem", "virtiofs", "ptp_kvm"],
  ["button", "evdev", "pvpanic", "pvpanic_mmio"],
].flat();

const FORMAT = 1;

/** A Linux that a VMM can boot. */
export interface LinuxGuest {
  /** The compressed kernel, for the Linux boot protocol. */
  readonly bzImage: string;
  /** The same kernel as an ELF image with a PVH note. */
  readonly vmlinux: string;
  /** An uncompressed cpio archive with busybox, virtio modules and an `/init` that obeys the command line. */
  readonly initrd: string;
  /** What `uname -r` says in it. */
  readonly version: string;
}

/** Options of {@link ensureLinuxGuest}. */
export interface LinuxGuestOptions extends EnsureTestbedOptions {
  /** Files added to the initrd, by their path; `/script` is what `baton.test=script` runs. */
  readonly files?: Readonly<Record<string, Buffer | string>>;
}

/** A command line on which the guest boots quietly, reports over COM1, and resets by a triple fault. */
export const linuxGuestCmdline = "console=ttyS0 reboot=t panic=-1 quiet";

/**
 * Makes the Linux guest ready in the cache: Debian's cloud kernel and a small initial file system. `guests/README.md`
 * says what its command line may ask for. Throws as `ensureTestbed` does.
 */
export async function ensureLinuxGuest(options: LinuxGuestOptions = {}): Promise<LinuxGuest> {
  const apt = { log: options.log ?? logToStderr, signal: options.signal };
  if (!existsSync("/bin/busybox")) await installPackages(["busybox-static"], apt);
  const kernel = await ensureKernel(apt);
  const init = await readFile(new URL("../assets/linux-guest-init.sh", import.meta.url));
  const files = Object.entries(options.files ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const { size, mtimeMs } = await stat("/bin/busybox");
  const inputs = createHash("sha256")
    .update(JSON.stringify([FORMAT, kernel, MODULES, size, mtimeMs]))
    .update(init);
  for (const [path, content] of files) inputs.update(JSON.stringify([path, content.length])).update(content);
  const initrd = await cached(`linux-guest/${inputs.digest("hex").slice(0, 16)}.cpio`, async (temporary) => {
    const image = await CpioWriter.create(temporary);
    await image.file("init", init, 0o755);
    await image.characterDevice("dev/console", 5, 1);
    for (const directory of ["proc", "sys", "tmp", "root", "mnt"]) await image.directory(directory);
    await addBusybox(image);
    const modules = await orderModules(kernel.modules, MODULES);
    for (const module of modules) await image.file(`modules/${module.name}.ko`, await readFile(module.path));
    await image.file("modules/order", modules.map(({ name, before }) => `${name}:${before.join(" ")}\n`).join(""));
    for (const [path, content] of files) await image.file(path, Buffer.from(content), 0o755);
    await image.close();
  });
  return { bzImage: kernel.bzImage, vmlinux: kernel.vmlinux, initrd, version: kernel.release };
}
