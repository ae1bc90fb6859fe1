import { existsSync, readFileSync } from "node:fs";
import { afterAll, afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { END_TIMEOUT_MS, helloGuest, killPrograms, type Program, Scratch, tickerGuest } from "./support/baton.js";
import { ECHO, pvhProgram } from "./support/machine-code.js";
import { TerminalWindow } from "./support/terminal.js";
import { until } from "./support/until.js";

const CTRL_A = "\u0001";
const scratch = new Scratch();
const echoGuest = ["-m", "16", "-kernel", scratch.write("echo", pvhProgram(ECHO)), "-serial", "stdio"];
const ticker = [...tickerGuest, "-serial", "stdio"];

let terminal: TerminalWindow;
let before: Buffer;

/** The state of a process in one letter, as in proc(5). */
const stateOf = (pid: number) => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];

/** Runs the echo guest and waits until it can be typed to. */
async function echo(more: readonly string[] = []): Promise<Program> {
  const program = terminal.run([...echoGuest, ...more]);
  await terminal.shows(/>$/);
  return program;
}

async function endsBy(program: Program, signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
  program.child.kill(signal);
  return terminal.ended(program, END_TIMEOUT_MS);
}

describeKvm("baton on a terminal", () => {
  beforeEach(() => {
    terminal = new TerminalWindow();
    before = terminal.settings;
  });

  afterEach(async () => {
    await killPrograms();
    terminal.close();
  });

  afterAll(() => scratch.remove());

  it("passes every key to the guest, and returns to the first column for it", async () => {
    const program = await echo();
    expect(terminal.isRaw).toBe(true);
    terminal.type("\u0003\u0004\u001a\u001c\u0011\u0013\r\n~");
    await terminal.shows(/~$/);
    expect(terminal.screen.slice(terminal.screen.indexOf(">") + 1)).toBe("\u0003\u0004\u001a\u001c\u0011\u0013\r\r\n~");
    expect(await endsBy(program, "SIGTERM")).toBe(0);
  });

  it("ends on Ctrl-A x, and the terminal is as it was", async () => {
    const program = await echo();
    terminal.type(`abc${CTRL_A}x`);
    expect(await terminal.ended(program, END_TIMEOUT_MS)).toBe(0);
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("explains the keys on Ctrl-A h, and sends Ctrl-A on Ctrl-A Ctrl-A", async () => {
    const program = await echo();
    terminal.type(`${CTRL_A}h`);
    await terminal.shows(/Ctrl-A x +end the VM\r\n[\s\S]*send Ctrl-A to the guest\r\n/);
    terminal.type(`<${CTRL_A}${CTRL_A}!`);
    await terminal.shows(new RegExp(`<${CTRL_A}!$`));
    expect(await endsBy(program, "SIGTERM")).toBe(0);
  });

  it("pauses and resumes the guest on Ctrl-A p", async () => {
    const log = scratch.at("pause.log");
    const program = await echo(["-D", log]);
    terminal.type(`${CTRL_A}p`);
    await until(() => readFileSync(log, "utf8").includes("running -> paused"), "the pause");
    terminal.type("x");
    terminal.type(`${CTRL_A}p`);
    await terminal.shows(/>x$/);
    expect(await endsBy(program, "SIGTERM")).toBe(0);
  });

  it("carries more than the guest can take at once", async () => {
    const program = await echo();
    const text = Array.from({ length: 1500 }, (_, i) => `${i}.`).join("");
    for (let at = 0; at < text.length; at += 1000) {
      terminal.type(text.slice(at, at + 1000));
      terminal.refresh();
    }
    await terminal.shows(/1499\.$/);
    expect(terminal.screen.slice(terminal.screen.indexOf(">") + 1)).toBe(text);
    expect(await endsBy(program, "SIGTERM")).toBe(0);
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("puts the terminal back on %s", async (signal) => {
    const program = terminal.run(ticker);
    await terminal.shows(/\.\./);
    expect(terminal.isRaw).toBe(true);
    expect(await endsBy(program, signal)).toBe(0);
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("puts the terminal back when the guest ends itself, after its last words", async () => {
    const program = terminal.run([...helloGuest, "-serial", "stdio"]);
    expect(await terminal.ended(program)).toBe(33);
    expect(terminal.screen).toContain("Goodbye.\r\n");
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("puts the terminal back when the VM cannot be made", async () => {
    const program = terminal.run(["-kernel", "/nowhere", "-serial", "stdio"]);
    expect(await terminal.ended(program)).toBe(1);
    expect(terminal.screen).toMatch(/baton: error: Cannot read kernel \/nowhere: ENOENT\r\n$/);
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("puts the terminal back when its own code crashes", async () => {
    const code = scratch.write("crash.mjs", 'process.on("SIGUSR2", () => { throw new Error("a bug"); });');
    const program = terminal.run(ticker, { nodeOptions: `--import ${code}` });
    await terminal.shows(/\.\./);
    expect(await endsBy(program, "SIGUSR2")).toBe(3);
    expect(terminal.screen).toContain("a bug");
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("ends when the terminal is closed, and leaves nothing behind", async () => {
    const pidfile = scratch.at("closed.pid");
    const program = terminal.run([...ticker, "-pidfile", pidfile]);
    await terminal.shows(/\.\./);
    terminal.close();
    expect(await program.ended(END_TIMEOUT_MS)).toBe(0);
    expect(existsSync(pidfile)).toBe(false);
    terminal = new TerminalWindow();
  });

  it("ends although the terminal displays nothing any more", async () => {
    const flood = scratch.write("flood", pvhProgram([0x66, 0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee, 0xeb, 0xfd]));
    const program = terminal.run(["-m", "16", "-kernel", flood, "-serial", "stdio"]);
    await terminal.shows(/\.\./);
    program.child.kill("SIGTERM");
    expect(await program.ended(END_TIMEOUT_MS)).toBe(0);
    expect(terminal.settings.equals(before)).toBe(true);
  });

  it("gives the terminal back while it is stopped, and takes it again", async () => {
    const program = await echo();
    for (const word of ["once", "twice"]) {
      program.child.kill("SIGTSTP");
      await until(() => stateOf(program.pid) === "T", "the stop");
      expect(terminal.settings.equals(before)).toBe(true);
      program.child.kill("SIGCONT");
      await until(() => terminal.isRaw, "raw mode");
      terminal.type(word);
      await terminal.shows(new RegExp(`${word}$`));
    }
    terminal.type(`${CTRL_A}x`);
    expect(await terminal.ended(program, END_TIMEOUT_MS)).toBe(0);
    expect(terminal.settings.equals(before)).toBe(true);
  });
});
