import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { guestPath } from "@baton/guests";
import { afterAll } from "@jest/globals";
import { until } from "./until.js";

const home = dirname(createRequire(import.meta.url).resolve("@baton/reference-vmm/package.json"));

/** The built command, and the built library's entry. */
export const batonPath = join(home, "dist/baton.js");
export const libraryPath = join(home, "dist/index.js");

/** The longest that an end may take: a second by the contract, the rest for a loaded machine. */
export const END_TIMEOUT_MS = 8000;

const running = new Set<Program>();

/** A program under test, with what it wrote and how it ended. */
export class Program {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  /** `code`, or the signal's name, once it has ended and its output is complete. */
  end: number | NodeJS.Signals | undefined;

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
    running.add(this);
    this.child.stdout?.setEncoding("latin1").on("data", (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.child.stdin?.on("error", () => {});
    this.child.once("error", (error) => (this.stderr += error.message));
    this.child.once("close", (code, signal) => {
      this.end = code ?? signal ?? undefined;
      running.delete(this);
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Waits for output on standard output or standard error. */
  async sees(pattern: RegExp, where: "stdout" | "stderr" = "stdout"): Promise<RegExpExecArray> {
    return until(
      () => {
        const match = pattern.exec(this[where]);
        if (match === null && this.end !== undefined) throw new Error(`ended with ${this.end}: ${this.stderr}`);
        return match;
      },
      `${pattern} on ${where} (so far: ${JSON.stringify(this.stdout.slice(-200))}, ${JSON.stringify(this.stderr)})`,
    );
  }

  /** Waits for the end and returns the exit code or signal. */
  ended(timeoutMs = 20_000): Promise<number | NodeJS.Signals> {
    return until(() => this.end, `the end of the process (stderr: ${this.stderr})`, timeoutMs);
  }

  /** Sends a signal and waits for the end, which must come in time. */
  async endedBy(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    const sent = performance.now();
    this.child.kill(signal);
    const end = await this.ended(END_TIMEOUT_MS);
    console.log(`ended ${(performance.now() - sent).toFixed(0)} ms after ${signal}`);
    return end;
  }
}

/** The directory in which the test file's VMs are registered by name, apart from those of others; removed at its end. */
export const runtimeDirectory = mkdtempSync(join(tmpdir(), "baton-run-"));
afterAll(() => rmSync(runtimeDirectory, { recursive: true, force: true }));

/** The environment of the programs under test. */
export const environment = { ...process.env, XDG_RUNTIME_DIR: runtimeDirectory };

/** Runs the built `baton`. */
export function baton(args: readonly string[], options: SpawnOptions = {}): Program {
  return new Program(process.execPath, [batonPath, ...args], { env: environment, ...options });
}

/** Kills what a failed test has left running. */
export async function killPrograms(): Promise<void> {
  for (const program of running) {
    program.child.kill("SIGKILL");
    program.child.stdout?.destroy();
    program.child.stderr?.destroy();
  }
  await until(() => running.size === 0, "the end of killed processes");
}

/** A directory for one test file, removed at its end. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), "baton-cli-"));

  at(name: string): string {
    return join(this.path, name);
  }

  write(name: string, content: Uint8Array | string): string {
    writeFileSync(this.at(name), content);
    return this.at(name);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Options for a guest that says hello, works for a moment and ends itself with exit code 33. */
export const helloGuest: readonly string[] = ["-m", "32", "-kernel", guestPath("hello"), "-append", "primes=1000"];

/** Options for a guest that prints a dot ten times a second for ever. */
export const tickerGuest: readonly string[] = ["-m", "96", "-kernel", guestPath("ticker"), "-append", "rate=10"];
