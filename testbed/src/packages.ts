import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { TestbedError } from "./errors.js";
import type { TestbedFile } from "./tar.js";

/** The directory of the repository that this package lies in. */
export const repository: string = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** In the base image, so never copied. */
const ON_BOARD = /^(koffi|@koromix\/.*|@node-rs\/.*)$/;
/** What a package of this repository needs at run time, besides its `package.json` and what that names as `files`. */
const BUILT = "dist";

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly files?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
}

function readManifest(directory: string): Manifest {
  return JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Manifest;
}

/** The real directory of a package, as the module (or `package.json`) at `from` would find it. */
export function packageDirectory(name: string, from: string): string {
  for (const place of createRequire(from).resolve.paths(name) ?? []) {
    if (existsSync(join(place, name, "package.json"))) return realpathSync(join(place, name));
  }
  throw new TestbedError("FILE_MISSING", `no package ${name} near ${from}; run: pnpm install`);
}

function workspaceDirectories(): Map<string, string> {
  const children = (folder: string): string[] =>
    existsSync(join(repository, folder)) ? readdirSync(join(repository, folder)).map((name) => join(folder, name)) : [];
  const candidates = [...children("packages"), ...children("examples"), "guests", "testbed", "bench"];
  const directories = candidates.map((path) => join(repository, path));
  const named = directories.filter((directory) => existsSync(join(directory, "package.json")));
  return new Map(named.map((directory) => [readManifest(directory).name ?? "", directory]));
}

/**
 * The built packages of this repository, for a run: the named ones with all that they depend on, below
 * `/test/node_modules`, so that a script in `/test` can import them by name. Build them before (`FILE_MISSING` else).
 */
export function workspaceFiles(...names: readonly string[]): TestbedFile[] {
  const workspace = workspaceDirectories();
  const files: TestbedFile[] = [];
  const versions = new Map<string, string>();
  const add = (name: string, from: string): void => {
    if (ON_BOARD.test(name)) return;
    const own = workspace.get(name);
    const directory = own ?? packageDirectory(name, from);
    const manifest = readManifest(directory);
    const version = manifest.version ?? "";
    const known = versions.get(name);
    if (known !== undefined && known !== version) {
      throw new TestbedError("FILE_MISSING", `two versions of ${name} (${known}, ${version}) cannot both go in`);
    }
    if (known !== undefined) return;
    versions.set(name, version);
    const target = join("node_modules", name);
    if (own === undefined) {
      files.push({ path: target, from: directory });
    } else {
      for (const part of new Set(["package.json", BUILT, ...(manifest.files ?? [])])) {
        if (!existsSync(join(directory, part))) {
          throw new TestbedError("FILE_MISSING", `${name} has no ${part}; build it: pnpm run build`);
        }
        files.push({ path: join(target, part), from: join(directory, part) });
      }
    }
    for (const dependency of Object.keys(manifest.dependencies ?? {})) add(dependency, join(directory, "package.json"));
  };
  for (const name of names) add(name, join(repository, "package.json"));
  return files;
}
