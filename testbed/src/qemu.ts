import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type AptOptions, installPackages } from "./apt.js";
import { cacheRoot, withLock } from "./cache.js";
import { runCommand } from "./command.js";
import { TestbedError } from "./errors.js";

const MIRROR = "http://deb.debian.org/debian";
const SYSTEM_QEMU = "/usr/bin/qemu-system-x86_64";

/** An emulator that can be started. */
export interface Qemu {
  /** For example `11.1.3`. */
  readonly version: string;
  readonly program: string;
  /** What stands before all other arguments. */
  readonly leadingArgs: readonly string[];
  /** How many CPUs the testbed may have: QEMU 7.2 wedges with more than one. */
  readonly maxCpus: number;
}

async function describe(program: string, leadingArgs: readonly string[]): Promise<Qemu> {
  const version = /version (\d+\.\d+\.\d+)/.exec(await runCommand(program, [...leadingArgs, "--version"]))?.[1];
  if (version === undefined) throw new TestbedError("QEMU_MISSING", `${program} does not tell its version`);
  return { version, program, leadingArgs, maxCpus: Number.parseInt(version, 10) >= 10 ? 4 : 1 };
}

/** A QEMU below another root directory, started from outside through that root's own loader. */
function inRoot(root: string): Promise<Qemu> {
  const library = join(root, "usr/lib/x86_64-linux-gnu");
  const data = ["-L", join(root, "usr/share/qemu"), "-L", join(root, "usr/share/seabios")];
  const program = join(root, "usr/bin/qemu-system-x86_64");
  return describe(join(root, "lib64/ld-linux-x86-64.so.2"), ["--library-path", library, program, ...data]);
}

async function newestRoot(directory: string): Promise<string | undefined> {
  const versions = (await readdir(directory).catch(() => [])).filter((name) => /^\d+(\.\d+)+$/.test(name));
  const newest = versions.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).pop();
  return newest === undefined ? undefined : join(directory, newest);
}

async function buildRoot(directory: string, options: AptOptions): Promise<string> {
  await installPackages(["debootstrap"], options);
  await mkdir(directory, { recursive: true });
  const root = join(directory, `root.tmp-${process.pid}`);
  const { log, signal } = options;
  try {
    log("fetching QEMU from trixie-backports into a directory of its own (about a minute, once)");
    await runCommand("debootstrap", ["--variant=minbase", "trixie", root, MIRROR], { signal });
    await appendFile(join(root, "etc/apt/sources.list.d/backports.list"), `deb ${MIRROR} trixie-backports main\n`);
    const packages = "qemu-system-x86 qemu-system-data seabios";
    const install = `apt-get update && apt-get install -y --no-install-recommends -t trixie-backports ${packages}`;
    const clean = "rm -rf /var/cache/apt/* /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale";
    await runCommand("chroot", [root, "sh", "-c", `${install} && ${clean}`], {
      env: { DEBIAN_FRONTEND: "noninteractive", PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      signal,
    });
    const { version } = await inRoot(root);
    await rename(root, join(directory, version));
    return join(directory, version);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/**
 * Gives the newest QEMU to be had: version 11 in a directory of its own where it is cached or can be fetched (root and
 * a network), else Debian 12's 7.2, saying so. `$BATON_TESTBED_QEMU` chooses: `system`, or the path of a program.
 */
export async function ensureQemu(options: AptOptions): Promise<Qemu> {
  const choice = process.env.BATON_TESTBED_QEMU;
  if (choice?.startsWith("/")) return describe(choice, []);
  if (choice !== "system") {
    const directory = join(cacheRoot(), "qemu");
    try {
      const root = await newestRoot(directory);
      if (root !== undefined) return await inRoot(root);
      if (process.getuid?.() !== 0) throw new TestbedError("QEMU_MISSING", "fetching it needs root");
      return await withLock("qemu.lock", async () => {
        return inRoot((await newestRoot(directory)) ?? (await buildRoot(directory, options)));
      });
    } catch (error) {
      options.signal?.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      options.log(`no QEMU 11 for the testbed, falling back to the system's with one CPU: ${reason}`);
    }
  }
  if (!existsSync(SYSTEM_QEMU)) await installPackages(["qemu-system-x86"], options);
  return describe(SYSTEM_QEMU, []);
}
