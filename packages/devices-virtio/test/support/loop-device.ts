import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A block device over a file: its name. Throws with what losetup says. */
export function attachLoop(file: string): string {
  const { status, stdout, stderr } = spawnSync("losetup", ["--find", "--show", file], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr?.trim() || "there is no losetup");
  return stdout.trim();
}

export function detachLoop(device: string): void {
  spawnSync("losetup", ["--detach", device]);
}

/** Why there are no such devices here, for a test's name; "" if there are. */
export function loopAbsence(): string {
  const directory = mkdtempSync(join(tmpdir(), "baton-loop-"));
  try {
    const file = join(directory, "probe.img");
    writeFileSync(file, new Uint8Array(512));
    detachLoop(attachLoop(file));
    return "";
  } catch (error) {
    return ` (skipped: ${(error as Error).message})`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
