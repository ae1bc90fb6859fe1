import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

/** Workers and child processes run the built package: they cannot load TypeScript. */
export const built = new URL("../dist/index.js", import.meta.url).href;
const prelude = `import * as L from ${JSON.stringify(built)};\n`;

/** Where children look for what the package depends on. */
const cwd = fileURLToPath(new URL("..", import.meta.url));

/** Runs a module with the package as `L` in a child process, to its end. */
export function runChild(code: string, wrap: readonly string[] = []) {
  const command = [...wrap, process.execPath, "--input-type=module", "-e", prelude + code];
  return spawnSync(command[0] as string, command.slice(1), { cwd, encoding: "utf8", timeout: 20_000 });
}

/** Starts a module with the package as `L` in a child process. */
export function startChild(code: string): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, ["--input-type=module", "-e", prelude + code]);
}

/** The next piece of a child's output. */
export async function output(child: ChildProcessWithoutNullStreams): Promise<string> {
  const [data] = await once(child.stdout, "data");
  return String(data);
}

/** Starts a worker that runs an async function body with `L`, `parentPort` and `workerData`. */
export function startWorker(body: string, workerData: unknown = {}): Worker {
  const code = `const { parentPort, workerData } = require("node:worker_threads");
    import(${JSON.stringify(built)}).then(async (L) => {${body}});`;
  return new Worker(code, { eval: true, workerData });
}

/** The next message of a worker. */
export async function message<T>(worker: Worker): Promise<T> {
  const [value] = await once(worker, "message");
  return value as T;
}

/** Waits until a thread of this process sits in the system call with one of these numbers. */
export async function untilInSyscall(tid: number, numbers: readonly number[]): Promise<void> {
  for (;;) {
    const now = Number.parseInt(readFileSync(`/proc/self/task/${tid}/syscall`, "utf8"), 10);
    if (numbers.includes(now)) return;
    await new Promise(setImmediate);
  }
}
