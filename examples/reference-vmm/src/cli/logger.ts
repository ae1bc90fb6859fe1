import { openSync, writeSync } from "node:fs";
import { BatonError } from "@baton/linux";
import type { LogControl } from "../command/command.js";

/** What the program says about itself; never on standard output, which is the guest's. */
export interface Logger extends LogControl {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

const items = {
  error: "what went wrong",
  warn: "what may be wrong",
  info: "changes of the run state",
} as const;

/**
 * Logs to standard error or, with a path, to a file; one line a message with its time. Fails with `LOG_FILE` where the
 * file cannot be written. Later failures, such as a full disk, are not the guest's concern.
 */
export function createLogger(path?: string): Logger {
  const fd = path === undefined ? undefined : openLog(path);
  let chosen = new Set(fd === undefined ? ["warn", "error"] : Object.keys(items));
  const write = (level: keyof typeof items, message: string) => {
    if (!chosen.has(level)) return;
    if (fd === undefined) {
      process.stderr.write(`baton: ${message}\n`);
      return;
    }
    try {
      writeSync(fd, `${new Date().toISOString()} [${process.pid}] ${level.toUpperCase()}: ${message}\n`);
    } catch {}
  };
  return {
    items,
    choose(these) {
      chosen = new Set(these);
    },
    info: (message) => write("info", message),
    warn: (message) => write("warn", message),
    error: (message) => write("error", message),
  };
}

function openLog(path: string): number {
  try {
    return openSync(path, "a", 0o600);
  } catch (error) {
    const { message } = error as Error;
    throw new BatonError("LOG_FILE", `-D: cannot write the log ${path}: ${message}`, { cause: error });
  }
}
