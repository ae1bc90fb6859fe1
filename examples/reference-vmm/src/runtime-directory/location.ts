import { lstatSync, mkdirSync, type Stats } from "node:fs";
import { isAbsolute, join } from "node:path";
import { BatonError } from "@baton/linux";

/** What decides where the runtime directory is. */
export interface LocationFacts {
  /** The environment variable `XDG_RUNTIME_DIR`. */
  readonly xdgRuntimeDir?: string | undefined;
  readonly uid: number;
}

const own = (): LocationFacts => ({ xdgRuntimeDir: process.env.XDG_RUNTIME_DIR, uid: process.getuid?.() ?? 0 });

/**
 * Where a user's VMs are found: `$XDG_RUNTIME_DIR/baton` if that directory is the user's, `/run/baton` for root,
 * `/tmp/baton-UID` for others.
 */
export function runtimeDirectoryPath({ xdgRuntimeDir, uid }: LocationFacts = own()): string {
  if (xdgRuntimeDir !== undefined && isAbsolute(xdgRuntimeDir) && look(xdgRuntimeDir)?.uid === uid) {
    return join(xdgRuntimeDir, "baton");
  }
  return uid === 0 ? "/run/baton" : `/tmp/baton-${uid}`;
}

/**
 * Makes the runtime directory where there is none. Fails with `RUNTIME_DIRECTORY` where others own it or may enter it:
 * whoever can put files there could have commands sent to a socket of theirs.
 */
export function makeRuntimeDirectory(path: string, uid: number = own().uid): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") throw unusable(path, message, error);
  }
  checkRuntimeDirectory(path, uid);
}

/** Whether it is there. Fails with `RUNTIME_DIRECTORY` where it is, and is not the user's alone. */
export function checkRuntimeDirectory(path: string, uid: number = own().uid): boolean {
  const stats = look(path);
  if (stats === undefined) return false;
  if (!stats.isDirectory()) throw unusable(path, "it is no directory");
  if (stats.uid !== uid) throw unusable(path, `it belongs to user ${stats.uid}`);
  if ((stats.mode & 0o077) !== 0)
    throw unusable(path, `others may enter it (mode ${(stats.mode & 0o777).toString(8)})`);
  return true;
}

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function unusable(path: string, why: string, cause?: unknown): BatonError {
  return new BatonError("RUNTIME_DIRECTORY", `The runtime directory ${path} cannot be used: ${why}`, {
    cause,
    hint: "Set XDG_RUNTIME_DIR to a directory that is yours alone, or run the VM without -name",
  });
}
