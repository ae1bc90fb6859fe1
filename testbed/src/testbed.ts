import { existsSync } from "node:fs";
import { installPackages } from "./apt.js";
import { ensureBaseImage } from "./base-image.js";
import { ensureKernel, type Kernel } from "./kernel.js";
import { ensureQemu, type Qemu } from "./qemu.js";

/** Everything that a run needs, ready in the cache. */
export interface Testbed {
  readonly kernel: Kernel;
  readonly qemu: Qemu;
  /** The initial file system, a cpio archive. */
  readonly baseImage: string;
}

/** Options of {@link ensureTestbed}. */
export interface EnsureTestbedOptions {
  /** Gets a line for each thing that takes time, and for each fall-back. By default they go to standard error. */
  readonly log?: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Writes a line about the testbed to standard error. */
export function logToStderr(line: string): void {
  process.stderr.write(`# testbed: ${line}\n`);
}

/**
 * Makes the testbed ready: installs missing Debian packages (as root), fetches the kernel and QEMU, builds the base
 * image. All of it is cached, and made again only when its inputs change; several processes may call it at once.
 * Throws `TestbedError` with code `PACKAGES_MISSING`, naming the command to run, when it may not install.
 */
export async function ensureTestbed(options: EnsureTestbedOptions = {}): Promise<Testbed> {
  const apt = { log: options.log ?? logToStderr, signal: options.signal };
  if (!existsSync("/bin/busybox")) await installPackages(["busybox-static"], apt);
  const kernel = await ensureKernel(apt);
  const baseImage = await ensureBaseImage(kernel, apt.log);
  return { kernel, baseImage, qemu: await ensureQemu(apt) };
}

/** Why this machine has no testbed, in a sentence, or `undefined` if it has one: for tests that say why they are skipped. */
export async function testbedAbsence(options: EnsureTestbedOptions = {}): Promise<string | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return "the testbed runs on Linux on x86-64 only";
  try {
    await ensureTestbed(options);
    return undefined;
  } catch (error) {
    options.signal?.throwIfAborted();
    return error instanceof Error ? error.message : String(error);
  }
}
