import { join } from "node:path";
import { BatonError, O_CREAT, O_RDWR, open, setOfdLock } from "@baton/linux";

const PATIENCE_MS = 2000;
const PAUSE_MS = 5;

/**
 * Does `work`, which must be short, while nobody else changes the runtime directory. Fails with `RUNTIME_DIRECTORY`
 * where another does not come to an end with its change.
 */
export function withDirectoryLock<T>(directory: string, work: () => T): T {
  using file = open(join(directory, ".lock"), O_RDWR | O_CREAT, 0o600);
  const deadline = performance.now() + PATIENCE_MS;
  while (!setOfdLock(file, { type: "write" })) {
    if (performance.now() > deadline) {
      throw new BatonError("RUNTIME_DIRECTORY", `Another process holds ${directory}/.lock and does not let go of it`);
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
  }
  return work();
}
