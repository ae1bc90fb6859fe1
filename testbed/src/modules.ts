import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { TestbedError } from "./errors.js";

/** A kernel module with its place in the loading order. */
export interface KernelModule {
  /** Its name as in `/proc/modules`: with underscores. */
  readonly name: string;
  /** The `.ko` file on this machine. */
  readonly path: string;
  /** The modules that must be loaded before, in order (all of them, not only the direct ones). */
  readonly before: readonly string[];
}

function moduleName(name: string): string {
  return name.replaceAll("-", "_").replace(/\.ko$/, "");
}

/**
 * Finds the named modules and all that they depend on, in an order in which `insmod` can load them. Dependencies come
 * from the `depends=` string of each `.ko` (its `.modinfo` section). `wanted` is loaded in the order given.
 * Throws `MODULE_MISSING`.
 */
export async function orderModules(directory: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = await readdir(directory, { recursive: true });
  const paths = new Map<string, string>();
  for (const file of files) {
    if (file.endsWith(".ko")) paths.set(moduleName(basename(file)), join(directory, file));
  }
  const ordered = new Map<string, KernelModule>();
  const visit = async (name: string): Promise<KernelModule> => {
    const known = ordered.get(name);
    if (known !== undefined) return known;
    const path = paths.get(name);
    if (path === undefined)
      throw new TestbedError("MODULE_MISSING", `the kernel in ${directory} has no module ${name}`);
    const depends = /(?:^|\0)depends=([^\0]*)\0/.exec((await readFile(path)).toString("latin1"))?.[1] ?? "";
    const before = new Set<string>();
    for (const dependency of depends.split(",").filter(Boolean).map(moduleName)) {
      for (const earlier of (await visit(dependency)).before) before.add(earlier);
      before.add(dependency);
    }
    const module: KernelModule = { name, path, before: [...before] };
    ordered.set(name, module);
    return module;
  };
  for (const name of wanted.map(moduleName)) await visit(name);
  return [...ordered.values()];
}
