import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Duplex } from "node:stream";
import { diskArguments, qemuArguments } from "./boot.js";
import { cached, prune } from "./cache.js";
import { TestbedError } from "./errors.js";
import type { RunOptions } from "./run.js";
import { SerialLines } from "./serial.js";
import type { Testbed } from "./testbed.js";

/** The sizes of the disks in a saved state: whoever restores it must have disks of the same sizes. They are sparse. */
export const SAVED_DISKS = { payload: 4 * 2 ** 30, results: 2 ** 30 } as const;

const BOOT_MS = 60_000;

/** A saved state, as what a start from it needs. */
export interface SavedTestbed {
  /** The options of the run, with what the state was made with. */
  readonly options: RunOptions;
  /** QEMU's arguments besides. */
  readonly args: readonly string[];
}

/** Gives the saved state for a run, made first where the cache lacks it; `undefined` where the run cannot use one. */
export async function ensureSaved(
  testbed: Testbed,
  options: RunOptions,
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<SavedTestbed | undefined> {
  const ownArguments = (options.kernelArgs?.length ?? 0) + (options.extraQemuArgs?.length ?? 0) > 0;
  if (options.warm === false || ownArguments || Number.parseInt(testbed.qemu.version, 10) < 11) return undefined;
  const saving = { ...options, kernelArgs: ["baton.save"] };
  const inputs = [testbed.qemu.version, basename(testbed.baseImage), qemuArguments(testbed, saving)];
  const hash = createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 16);
  await prune("saved");
  const state = await cached(`saved/${hash}.state`, (temporary) => {
    log("saving a booted testbed");
    return save(testbed, saving, temporary, signal);
  });
  return { options: saving, args: ["-incoming", `file:${state}`] };
}

async function save(testbed: Testbed, options: RunOptions, path: string, signal?: AbortSignal): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "baton-testbed-"));
  const disks = { payload: join(directory, "payload"), results: join(directory, "results") };
  await writeFile(disks.payload, "WAIT");
  await writeFile(disks.results, "");
  await truncate(disks.payload, SAVED_DISKS.payload);
  await truncate(disks.results, SAVED_DISKS.results);
  const monitor = ["-chardev", "socket,id=monitor,fd=4", "-qmp", "chardev:monitor"];
  const args = [...qemuArguments(testbed, options), ...diskArguments(disks), ...monitor];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", testbed.qemu.program, ...args], {
    stdio: ["ignore", "pipe", "inherit", "pipe", "pipe"],
    timeout: BOOT_MS,
    killSignal: "SIGKILL",
    signal,
  });
  const closed = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const failed = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.on("close", () => reject(new TestbedError("COMMAND_FAILED", "the testbed ended before it could be saved")));
  });
  failed.catch(() => {});
  (child.stdio[3] as Duplex).resume();
  try {
    const ready = new Promise<void>((resolve) => {
      const serial = new SerialLines((line) => {
        if (line.endsWith("SAVE POINT")) resolve();
      });
      child.stdout!.on("data", (chunk: Buffer) => serial.push(chunk));
    });
    await Promise.race([ready, failed]);
    const monitorClient = new Monitor(child.stdio[4] as Duplex);
    await Promise.race([monitorClient.migrate(`file:${path}.partial`), failed]);
    await rename(`${path}.partial`, path);
  } finally {
    child.kill("SIGKILL");
    await closed;
    await rm(directory, { recursive: true, force: true });
    await rm(`${path}.partial`, { force: true });
  }
}

/** The little of QMP that saving needs. */
class Monitor {
  readonly #stream: Duplex;
  readonly #answers: ((answer: Record<string, unknown>) => void)[] = [];

  constructor(stream: Duplex) {
    this.#stream = stream;
    const lines = new SerialLines((line) => {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ("return" in message || "error" in message) this.#answers.shift()?.(message);
    });
    stream.on("data", (chunk: Buffer) => lines.push(chunk));
  }

  async migrate(uri: string): Promise<void> {
    await this.#execute("qmp_capabilities");
    // Emulated machines stand still while nothing throttles the stream: it is done in one pass.
    await this.#execute("migrate-set-parameters", { "max-bandwidth": 2 ** 40, "downtime-limit": 2000 });
    await this.#execute("migrate", { uri });
    for (;;) {
      const { status } = (await this.#execute("query-migrate")) as { status?: string };
      if (status === "completed") return;
      if (status === "failed") throw new TestbedError("COMMAND_FAILED", "QEMU could not save the testbed");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #execute(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const answer = new Promise<Record<string, unknown>>((resolve) => this.#answers.push(resolve));
    this.#stream.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { error, return: value } = await answer;
    if (error !== undefined) throw new TestbedError("COMMAND_FAILED", `QEMU: ${execute}: ${JSON.stringify(error)}`);
    return value;
  }
}
