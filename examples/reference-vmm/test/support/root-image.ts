import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Compiles a C program so that it runs in any Linux guest. */
export function compileStatic(source: string, target: string): void {
  execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", target, source], { stdio: "inherit" });
}

const APPLETS = [
  "sh",
  "mount",
  "umount",
  "cat",
  "echo",
  "sleep",
  "poweroff",
  "sync",
  "dd",
  "ls",
  "mkdir",
  "grep",
  "sed",
];

/** Makes an ext4 image of `sizeMiB` at `path` with busybox, the given files, and `init` as its first program. */
export function makeRootImage(
  directory: string,
  path: string,
  options: { readonly sizeMiB: number; readonly init: string; readonly files?: Readonly<Record<string, string>> },
): void {
  const root = join(directory, "root");
  for (const place of ["bin", "sbin", "dev", "proc", "sys", "tmp", "data"]) {
    mkdirSync(join(root, place), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of APPLETS) symlinkSync("busybox", join(root, "bin", applet));
  for (const [target, source] of Object.entries(options.files ?? {})) copyFileSync(source, join(root, target));
  writeFileSync(join(root, "sbin/init"), options.init);
  chmodSync(join(root, "sbin/init"), 0o755);
  execFileSync("/sbin/mkfs.ext4", ["-q", "-F", "-d", root, path, `${options.sizeMiB}M`], { stdio: "inherit" });
}
