import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { TestbedError } from "./errors.js";

/** The directory in which everything that is downloaded or built is kept: `$BATON_CACHE`, or `~/.cache/baton`. */
export function cacheRoot(): string {
  return process.env.BATON_CACHE || join(homedir(), ".cache", "baton");
}

/**
 * Runs `action` while holding the lock `name` of the cache against other processes. The lock is that of `flock(1)`,
 * so it ends with this process, however that ends.
 */
export async function withLock<T>(name: string, action: () => Promise<T>): Promise<T> {
  const path = join(cacheRoot(), "locks", name);
  await mkdir(dirname(path), { recursive: true });
  const holder = spawn("flock", [path, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => holder.on("close", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    holder.on("error", reject);
    holder.stdout.once("data", () => resolve());
    holder.on("close", (code) => reject(new TestbedError("COMMAND_FAILED", `flock ${path} ended with ${code}`)));
  });
  try {
    return await action();
  } finally {
    holder.stdin.end();
    await ended;
  }
}

/**
 * Gives the path of a cache entry, making it first if it is not there. `build` fills a temporary path beside it
 * (a file or a directory), which is renamed into place: an entry that exists is whole. One process builds, others wait.
 */
export async function cached(entry: string, build: (temporary: string) => Promise<void>): Promise<string> {
  const path = join(cacheRoot(), entry);
  if (existsSync(path)) {
    const now = new Date();
    await utimes(path, now, now).catch(() => {});
    return path;
  }
  return withLock(`${entry.replaceAll("/", "_")}.lock`, async () => {
    if (existsSync(path)) return path;
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.tmp-${process.pid}`;
    await rm(temporary, { recursive: true, force: true });
    try {
      await build(temporary);
      await rename(temporary, path);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
    return path;
  });
}

const UNUSED_DAYS = 7;

/** Removes the entries of a folder of the cache that nobody asked for in a week. */
export async function prune(folder: string): Promise<void> {
  const directory = join(cacheRoot(), folder);
  for (const name of await readdir(directory).catch(() => [])) {
    const path = join(directory, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
    if (Date.now() - mtimeMs > UNUSED_DAYS * 86_400_000) await rm(path, { recursive: true, force: true });
  }
}
