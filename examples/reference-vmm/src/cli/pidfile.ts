import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { BatonError } from "@baton/linux";

/** Writes the process id; refuses (`PIDFILE_IN_USE`) a file that names another living process. Returns the removal. */
export function writePidfile(path: string): () => void {
  const owner = ownerOf(path);
  if (owner !== undefined)
    throw new BatonError("PIDFILE_IN_USE", `The pid file ${path} belongs to process ${owner}, which is running`);
  try {
    writeFileSync(path, `${process.pid}\n`, { mode: 0o644 });
  } catch (error) {
    throw new BatonError("PIDFILE", `Cannot write the pid file ${path}: ${(error as Error).message}`, { cause: error });
  }
  return () => {
    if (ownerOf(path, true) === process.pid) rmSync(path, { force: true });
  };
}

function ownerOf(path: string, self = false): number | undefined {
  let pid: number;
  try {
    pid = Number.parseInt(readFileSync(path, "utf8"), 10);
  } catch {
    return undefined;
  }
  if (!Number.isInteger(pid) || pid <= 0 || (pid === process.pid && !self)) return undefined;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? pid : undefined;
  }
}
