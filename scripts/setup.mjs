/** What every script needs before the project's own code can run: the right Node, system packages, dependencies, a build. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const PNPM = `pnpm@${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).packageManager.split("@")[1]}`;

/** The environment of all commands: turbo and publint look for pnpm on the PATH, where only the root's node_modules has it. */
export const environment = {
  ...process.env,
  PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}`,
  TURBO_TELEMETRY_DISABLED: "1",
};

/** A failure whose message tells the user what to do. */
export class SetupError extends Error {}

/** Refuses a Node that is too old, and machines that are not x86-64 Linux. */
export function checkPlatform() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Node ${process.versions.node} is too old: install Node 20.19 or later and run this again.`);
  }
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new SetupError(`Baton needs Linux on x86-64; this is ${process.platform} on ${process.arch}.`);
  }
}

/** Runs a command with its output passed through; resolves to its exit code. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: "inherit", env: environment, ...options });
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? (signal ? 128 : 1)));
  });
}

/** Runs a command quietly; its output is shown only when it fails. */
export function runQuietly(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: environment,
    ...options,
  });
  if (error || status !== 0) {
    process.stdout.write(`${stdout ?? ""}${stderr ?? ""}${error ? `${error.message}\n` : ""}`);
    return false;
  }
  return true;
}

/** Debian packages that provide the programs; those that are missing are installed when root, else named. */
export function ensurePrograms(programs) {
  const missing = Object.entries(programs).filter(
    ([program]) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0,
  );
  if (missing.length === 0) return;
  const packages = [...new Set(missing.flatMap(([, names]) => names.split(" ")))];
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  if (process.getuid?.() !== 0)
    throw new SetupError(`Missing programs: ${missing.map(([p]) => p).join(", ")}. As root, run: ${command}`);
  console.log(`Installing ${packages.join(", ")}`);
  const env = { ...environment, DEBIAN_FRONTEND: "noninteractive" };
  if (
    !runQuietly("sh", ["-c", command], { env }) &&
    !runQuietly("sh", ["-c", `apt-get update && ${command}`], { env })
  ) {
    throw new SetupError(`Could not install ${packages.join(", ")}. Check the network and run: ${command}`);
  }
}

/** Installs the npm dependencies that the lockfile names. */
export function installDependencies() {
  const args = ["--yes", PNPM, "install", "--frozen-lockfile", "--prefer-offline"];
  if (!runQuietly("npx", args, { env: { ...environment, CI: "true" } })) {
    throw new SetupError(
      "The dependencies could not be installed: check that the npm registry can be reached, and run this again.",
    );
  }
}

/** Builds packages; all of them unless a turbo filter is given. */
export function build(filter) {
  const turbo = join(root, "node_modules/.bin/turbo");
  if (!existsSync(turbo)) throw new SetupError("The build tools are missing: run npm test, which installs them.");
  const args = [
    "run",
    "build",
    "--concurrency=2",
    "--output-logs=errors-only",
    ...(filter ? [`--filter=${filter}`] : []),
  ];
  if (!runQuietly(turbo, args)) throw new SetupError("The build failed: the compiler's messages stand above.");
}

/** Runs a script's main function; a failure becomes a sentence and an exit code, not a stack trace. */
export async function main(work) {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    console.error(error instanceof SetupError ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}
