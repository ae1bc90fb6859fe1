import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BatonError } from "@baton/linux";
import { aVmName, isAlive, isVmName, readEntry, type VmEntry } from "./entry.js";
import { checkRuntimeDirectory, runtimeDirectoryPath } from "./location.js";
import { withDirectoryLock } from "./lock.js";

/**
 * The user's running VMs, sorted by name; entries of processes that have died are removed. Fails with
 * `RUNTIME_DIRECTORY` where the directory is not the user's alone.
 */
export function listVms(parent: string = runtimeDirectoryPath()): readonly VmEntry[] {
  if (!checkRuntimeDirectory(parent)) return [];
  const names = readdirSync(parent).filter(isVmName).sort();
  return names.map((name) => lookUp(parent, name)).filter((entry) => entry !== undefined);
}

/** The running VM of a name. Fails with `VM_NOT_FOUND`, and as {@link listVms} does. */
export function findVm(name: string, parent: string = runtimeDirectoryPath()): VmEntry {
  const entry = checkRuntimeDirectory(parent) ? lookUp(parent, aVmName(name)) : undefined;
  if (entry !== undefined) return entry;
  throw new BatonError("VM_NOT_FOUND", `No VM named '${name}' runs`, { hint: "`baton ps` lists the VMs" });
}

function lookUp(parent: string, name: string): VmEntry | undefined {
  const directory = join(parent, name);
  const dead = () => {
    const entry = readEntry(directory);
    return entry !== undefined && !isAlive(entry);
  };
  if (dead()) {
    withDirectoryLock(parent, () => {
      // Another may have taken the name meanwhile.
      if (dead()) rmSync(directory, { recursive: true, force: true });
    });
  }
  const entry = readEntry(directory);
  return entry?.name === name && isAlive(entry) ? entry : undefined;
}
