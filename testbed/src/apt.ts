import { withLock } from "./cache.js";
import { runCommand } from "./command.js";
import { TestbedError } from "./errors.js";

const environment = { DEBIAN_FRONTEND: "noninteractive" };

/** The options that every call of these functions takes. */
export interface AptOptions {
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

async function isInstalled(name: string): Promise<boolean> {
  try {
    const state = await runCommand("dpkg-query", ["-W", "-f=$" + "{db:Status-Status}", name]);
    return state.trim() === "installed";
  } catch {
    return false;
  }
}

/** Runs `action`; if it fails, refreshes the package lists once and tries again (lists of old images are stale). */
async function withFreshLists<T>(options: AptOptions, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    options.signal?.throwIfAborted();
    options.log("refreshing the package lists (apt-get update)");
    await runCommand("apt-get", ["update"], { env: environment, signal: options.signal }).catch((cause: unknown) => {
      throw new AggregateError([error, cause], `apt-get update failed: ${String(cause)}`);
    });
    return action();
  }
}

/** Installs those of the Debian packages that are missing; throws `PACKAGES_MISSING`, naming the command, if not root. */
export async function installPackages(names: readonly string[], options: AptOptions): Promise<void> {
  const findMissing = async (): Promise<string[]> => {
    const installed = await Promise.all(names.map(isInstalled));
    return names.filter((_, index) => installed[index] !== true);
  };
  if ((await findMissing()).length === 0) return;
  await withLock("apt.lock", async () => {
    const missing = await findMissing();
    if (missing.length === 0) return;
    if (process.getuid?.() !== 0) {
      const command = `sudo apt-get install --no-install-recommends ${missing.join(" ")}`;
      throw new TestbedError(
        "PACKAGES_MISSING",
        `the testbed needs the packages ${missing.join(", ")}; run: ${command}`,
      );
    }
    options.log(`installing ${missing.join(", ")}`);
    const args = ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", ...missing];
    await withFreshLists(options, () => runCommand("apt-get", args, { env: environment, signal: options.signal }));
  });
}

/** The only dependency of a Debian meta package: for `linux-image-cloud-amd64`, the kernel package of the day. */
export async function dependencyOf(metaPackage: string, options: AptOptions): Promise<string> {
  return withFreshLists(options, async () => {
    const output = await runCommand("apt-cache", ["depends", metaPackage]);
    const name = /^\s*Depends: (\S+)/m.exec(output)?.[1];
    if (name === undefined) throw new TestbedError("COMMAND_FAILED", `apt-cache knows no dependency of ${metaPackage}`);
    return name;
  });
}

/** The version of a package that `apt-get download` would fetch now. */
export async function candidateVersion(name: string): Promise<string> {
  const version = /^\s*Candidate: (\S+)/m.exec(await runCommand("apt-cache", ["policy", name]))?.[1];
  if (version === undefined) throw new TestbedError("COMMAND_FAILED", `apt-cache knows no version of ${name}`);
  return version;
}

/** Fetches a package and unpacks its files below `directory`, without installing it (no scripts run). */
export async function unpackPackage(name: string, directory: string, options: AptOptions): Promise<void> {
  options.log(`downloading ${name}`);
  await withFreshLists(options, async () => {
    await runCommand("apt-get", ["download", "-o", "APT::Sandbox::User=root", name], {
      cwd: directory,
      signal: options.signal,
    });
  });
  await runCommand("sh", ["-c", "dpkg-deb -x ./*.deb . && rm ./*.deb"], { cwd: directory, signal: options.signal });
}
