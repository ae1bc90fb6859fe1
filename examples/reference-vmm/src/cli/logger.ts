import { appendFileSync } from "node:fs";

/** What the program says about itself; never on standard output, which is the guest's. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Logs to standard error or, with a path, to a file; one line a message with its time. */
export function createLogger(path?: string): Logger {
  const write = (level: string, message: string) => {
    const line =
      path === undefined
        ? `baton: ${message}\n`
        : `${new Date().toISOString()} [${process.pid}] ${level}: ${message}\n`;
    if (path === undefined) process.stderr.write(line);
    else appendFileSync(path, line, { mode: 0o600 });
  };
  return {
    info: (message) => path !== undefined && write("INFO", message),
    warn: (message) => write("WARN", message),
    error: (message) => write("ERROR", message),
  };
}
