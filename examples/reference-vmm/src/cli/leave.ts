import { exitImmediately } from "@baton/linux";

/**
 * Ends the process once standard output is written, without Node's help: `process.exit()` aborts where a worker is still
 * loading native code, or a terminal that the process started with has been closed.
 */
export function leave(code: number): void {
  process.stdout.write("", () => {
    process.emit("exit", code);
    exitImmediately(code);
  });
}
