import { openSync, writeSync } from "node:fs";
import { BatonError } from "@baton/linux";

/** What the program says about itself; never on standard output, which is the guest's. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/**
 * Logs to standard error or, with a path, to a file; one line a message with its time. Fails with `LOG_FILE` where the
 * file cannot be written. Later failures, such as a full disk, are not the guest's concern.
 */
export function createLogger(path?: string): Logger {
  const fd = path === undefined ? undefined : openLog(path);
  const write = (level: string, message: string) => {
    if (fd === undefined) {
      process.stderr.write(`baton: ${message}\n`);
      return;
    }
    try {
      writeSync(fd, `${new Date().toISOString()} [${process.pid}] ${level}: ${message}\n`);
    } catch {}
  };
  return {
    info: (message) => fd !== undefined && write("INFO", message),
    warn: (message) => write("WARN", message),
    error: (message) => write("ERROR", message),
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
