import { once } from "node:events";
import { Worker } from "node:worker_threads";

/** Workers run the built package: they cannot load TypeScript. */
const built = new URL("../dist/index.js", import.meta.url).href;

/** Starts a worker that runs an async function body with the package as `M`, `parentPort` and `workerData`. */
export function startWorker(body: string, workerData: unknown): Worker {
  const code = `const { parentPort, workerData } = require("node:worker_threads");
    import(${JSON.stringify(built)}).then(async (M) => {${body}});`;
  return new Worker(code, { eval: true, workerData });
}

/** The next message of a worker; rejects when the worker fails. */
export async function message<T>(worker: Worker): Promise<T> {
  const [value] = await once(worker, "message");
  return value as T;
}
