import { isatty } from "node:tty";
import { exitImmediately } from "@baton/linux";

const terminals = [0, 1, 2].filter((fd) => isatty(fd));

/**
 * Ends the process once standard output is written. Node aborts where a terminal that it started with has been closed,
 * since it wants to restore its settings; such a process leaves without Node's help.
 */
export function leave(code: number): void {
  process.exitCode = code;
  process.stdout.write("", () => {
    if (terminals.every((fd) => isatty(fd))) process.exit();
    exitImmediately(code);
  });
}
