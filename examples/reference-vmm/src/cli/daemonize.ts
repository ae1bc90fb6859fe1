import { spawn } from "node:child_process";

const MARK = "BATON_DAEMON";

/** Whether this process is the background half of a daemon. */
export function isDaemonChild(): boolean {
  return process.env[MARK] === "1" && process.send !== undefined;
}

/**
 * Starts this program again in the background; resolves to the exit code once that VM is set up, or has failed to be.
 * What the child has to say until then is passed on; afterwards it holds nothing of the caller's terminal.
 */
export function spawnDaemon(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    env: { ...process.env, [MARK]: "1" },
  });
  child.stderr?.on("data", (text: Buffer) => process.stderr.write(text));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
    child.once("message", () => {
      child.removeAllListeners("close");
      // What it wrote before it said so lies in the pipe: the next turn of the loop reads it.
      setImmediate(() => setImmediate(() => resolve(0)));
    });
  });
}

/** Tells the waiting foreground process that the VM is set up. */
export function announceReady(): void {
  delete process.env[MARK];
  process.send?.("ready", () => process.disconnect?.());
}
