import { spawn } from "node:child_process";

const MARK = "BATON_DAEMON";

/** Whether this process is the background half of a daemon. */
export function isDaemonChild(): boolean {
  return process.env[MARK] === "1" && process.send !== undefined;
}

/** Starts this program again in the background; resolves to the exit code once that VM is set up, or has failed to be. */
export function spawnDaemon(): Promise<number> {
  const child = spawn(process.execPath, process.argv.slice(1), {
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    env: { ...process.env, [MARK]: "1" },
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
    child.once("message", () => {
      child.disconnect();
      child.unref();
      resolve(0);
    });
  });
}

/** Tells the waiting foreground process that the VM is set up. */
export function announceReady(): void {
  delete process.env[MARK];
  process.send?.("ready", () => process.disconnect?.());
}
