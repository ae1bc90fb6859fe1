import { spawn } from "node:child_process";
import { TestbedError } from "./errors.js";

/** How a command is run: its environment is added to this process's, its output collected. */
export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly signal?: AbortSignal | undefined;
}

/** Runs a program to its end and gives its standard output; throws `COMMAND_FAILED` with the end of its errors. */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  options.signal?.throwIfAborted();
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: "C", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    signal: options.signal,
  });
  const output: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  const status = await new Promise<number | string>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal ?? "unknown"));
  });
  if (status !== 0) {
    const tail = Buffer.concat([...errors, ...output])
      .toString()
      .trim()
      .split("\n")
      .slice(-6)
      .join("\n");
    throw new TestbedError("COMMAND_FAILED", `${file} ${args.join(" ")} ended with ${status}:\n${tail}`);
  }
  return Buffer.concat(output).toString();
}
