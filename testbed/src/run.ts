import { randomBytes } from "node:crypto";
import { mkdtemp, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bootOnce, type Ending } from "./boot.js";
import { ensureSaved, SAVED_DISKS } from "./saved.js";
import { parseTap, type TapResult } from "./tap.js";
import { readTar, type TestbedFile, writeTar } from "./tar.js";
import { ensureTestbed, logToStderr, type Testbed } from "./testbed.js";

const MIB = 1 << 20;
/** The testbed reads its payload in blocks of this size. */
const PAYLOAD_BLOCK = 1 << 16;

/** What to run in the testbed. */
export interface RunOptions {
  /** What is copied in; relative paths are below `/test`, where the command runs. */
  readonly files?: readonly TestbedFile[];
  /** A shell command. Its output is the serial log; TAP in it is parsed. */
  readonly command: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Files or directories to bring back, as paths in the testbed (relative ones are below `/test`). */
  readonly artefacts?: readonly string[];
  /** How long one boot may take in all; default 5 minutes. A command that hangs ends here. */
  readonly timeoutMs?: number;
  /** How long the testbed may give no sign of life (output, or the heartbeat of its init) before it counts as wedged. */
  readonly silenceMs?: number;
  /** CPUs of the testbed; default 1, at most what the QEMU in use does reliably. */
  readonly cpus?: number;
  readonly memoryMiB?: number;
  /** Modules to load besides the default ones (see the README). */
  readonly modules?: readonly string[];
  /** Words added to the testbed's kernel command line. */
  readonly kernelArgs?: readonly string[];
  readonly extraQemuArgs?: readonly string[];
  /**
   * Starts from the saved state of a booted testbed, which saves some seconds. That is the default; `false` boots. The
   * state (400 MB in the cache, for each choice of cpus, memory and modules) is made by the first run that wants it.
   * Runs with kernel or QEMU arguments of their own, QEMU 7, and second attempts boot in any case.
   */
  readonly warm?: boolean;
  /** The most that all artefacts together may take; default 64 MiB. */
  readonly resultsMiB?: number;
  /** Gets each line of output as it comes. */
  readonly onLine?: (line: string) => void;
  readonly log?: (line: string) => void;
}

/** What became of a run. */
export interface RunResult {
  /** True if the command ended with 0, and its TAP, where there was any, is complete and without failures. */
  readonly ok: boolean;
  /** How the last attempt ended; only after `done` do `exitCode` and `artefacts` have values. */
  readonly ending: Ending;
  readonly exitCode: number | undefined;
  readonly tap: TapResult;
  /** True if the testbed itself died, in the last attempt: no verdict about the test. */
  readonly wedged: boolean;
  /** How often it was started: 2 after a wedged first attempt. */
  readonly attempts: number;
  /** The content of each file brought back, by its path as given (below a directory: with the rest of the path). */
  readonly artefacts: ReadonlyMap<string, Buffer>;
  readonly durationMs: number;
  readonly serialLog: string;
}

/** Counts of this process, for reports: a wedged testbed that a retry hid is still seen here. */
export const runStatistics = { boots: 0, wedged: 0 };

/**
 * Starts the testbed, copies the files in, runs the command and gives its TAP, exit code and artefacts. A testbed that
 * wedges is told apart from a test that fails: it is started again once, which is counted and logged. The outcome is
 * the result, never an exception; what throws is a testbed that cannot be had, a file that is missing, or the signal.
 */
export async function runInTestbed(
  options: RunOptions,
  { signal, testbed }: { signal?: AbortSignal | undefined; testbed?: Testbed } = {},
): Promise<RunResult> {
  const log = options.log ?? logToStderr;
  const ready = testbed ?? (await ensureTestbed({ log, signal }));
  const directory = await mkdtemp(join(tmpdir(), "baton-testbed-"));
  const start = performance.now();
  try {
    const payload = join(directory, "payload.tar");
    await writeTar(payload, [...(options.files ?? []), ...controlFiles(options)].map(belowTest));
    const blocks = Math.ceil((await stat(payload)).size / PAYLOAD_BLOCK);
    await truncate(payload, blocks * PAYLOAD_BLOCK);
    for (let attempts = 1; ; attempts++) {
      const results = join(directory, `results-${attempts}.img`);
      // A restored testbed has disks of the sizes that it was saved with; a second attempt starts from nothing.
      const saved = attempts === 1 ? await ensureSaved(ready, options, log, signal) : undefined;
      if (saved !== undefined) await truncate(payload, SAVED_DISKS.payload);
      await writeFile(results, `${blocks}\n`);
      await truncate(results, saved === undefined ? (options.resultsMiB ?? 64) * MIB : SAVED_DISKS.results);
      runStatistics.boots++;
      const boot = await bootOnce(ready, saved?.options ?? options, { payload, results }, signal, saved?.args);
      const wedged = boot.ending === "wedged" || boot.ending === "died";
      if (wedged) {
        runStatistics.wedged++;
        const tail = boot.lines.slice(-5).join(" | ");
        log(`the testbed ${boot.ending} (QEMU ${ready.qemu.version}, attempt ${attempts}); it said last: ${tail}`);
        if (attempts === 1) continue;
      }
      const tap = parseTap(boot.lines);
      const ok = boot.exitCode === 0 && (tap.tests.length === 0 ? !tap.problems.some(isFatal) : tap.ok);
      return {
        ok,
        ending: boot.ending,
        exitCode: boot.exitCode,
        tap,
        wedged,
        attempts,
        artefacts: boot.ending === "done" ? relativeToTest(await readTar(results), options) : new Map<string, Buffer>(),
        durationMs: performance.now() - start,
        serialLog: boot.lines.join("\n"),
      };
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Without test points a missing plan is no fault, but a plan without points and a bail-out are. */
function isFatal(problem: string): boolean {
  return !problem.startsWith("the stream has no plan");
}

function controlFiles(options: RunOptions): TestbedFile[] {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const exports = Object.entries(options.env ?? {}).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  return [
    { path: ".testbed/run", from: Buffer.from(`${exports.join("")}${options.command}\n`) },
    { path: ".testbed/seed", from: randomBytes(64) },
    { path: ".testbed/artefacts", from: Buffer.from((options.artefacts ?? []).map((path) => `${path}\n`).join("")) },
  ];
}

function belowTest(file: TestbedFile): TestbedFile {
  return file.path.startsWith("/") ? file : { ...file, path: `test/${file.path}` };
}

/** Tar drops the leading slash of absolute paths: put back where one was asked for. */
function relativeToTest(files: Map<string, Buffer>, options: RunOptions): Map<string, Buffer> {
  const absolute = (options.artefacts ?? []).filter((path) => path.startsWith("/")).map((path) => path.slice(1));
  const isAbsolute = (name: string): boolean =>
    absolute.some((path) => name === path || name.startsWith(`${path.replace(/\/$/, "")}/`));
  return new Map([...files].map(([name, content]) => [isAbsolute(name) ? `/${name}` : name, content]));
}
