import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { END_TIMEOUT_MS, killPrograms, type Program, tickerGuest } from "./support/baton.js";
import { TerminalWindow } from "./support/terminal.js";
import { until } from "./support/until.js";

const TAB = "\t";
const UP = "\u001b[A";
const CTRL_A = "\u0001";
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const CTRL_Z = "\u001a";

/** What moves the cursor or clears the screen. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what they are
const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g;

let terminal: TerminalWindow;
let before: Buffer;
let program: Program;
let seen: number;

/** The screen's text from what was last waited for. */
const text = () => terminal.screen.replaceAll(CONTROL_SEQUENCE, "").slice(seen);

/** Waits for text behind what was waited for before. */
async function shows(pattern: RegExp): Promise<string> {
  return until(() => {
    terminal.refresh();
    const match = pattern.exec(text());
    if (match === null) return false;
    const found = text().slice(0, match.index + match[0].length);
    seen += found.length;
    return found;
  }, `${pattern} on the terminal`).catch((error: Error) => {
    throw new Error(`${error.message}; it shows ${JSON.stringify(text())}`);
  });
}

const prompt = () => shows(/\(qemu\) $/);
const stateOf = (pid: number) => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];

async function endsWith(code: number | NodeJS.Signals): Promise<void> {
  expect(await terminal.ended(program, END_TIMEOUT_MS)).toBe(code);
  expect(terminal.settings.equals(before)).toBe(true);
}

describeKvm("the monitor on a terminal", () => {
  beforeEach(async () => {
    terminal = new TerminalWindow();
    terminal.resize(24, 80);
    before = terminal.settings;
    seen = 0;
    program = terminal.run([...tickerGuest, "-name", "demo", "-serial", "null", "-monitor", "stdio"]);
    await prompt();
    expect(terminal.isRaw).toBe(true);
  });

  afterEach(async () => {
    await killPrograms();
    terminal.close();
  });

  it("completes commands and topics, and lists them where there are several", async () => {
    terminal.type("info sta");
    await shows(/info sta$/);
    terminal.type(TAB);
    await shows(/tus $/);
    terminal.type("\r");
    await shows(/VM status: running\r+\n/);
    await prompt();
    terminal.type("sys");
    await shows(/sys$/);
    terminal.type(TAB);
    await shows(/tem_$/);
    terminal.type(TAB);
    await shows(/system_powerdown +system_reset/);
    terminal.type(`${CTRL_C}quit\r`);
    await endsWith(0);
  });

  it("remembers lines, and lets them be edited", async () => {
    terminal.type("info name\r");
    await shows(/\ndemo\r+\n/);
    await prompt();
    terminal.type("info status\r");
    await shows(/VM status: running\r+\n/);
    await prompt();
    terminal.type(UP);
    await shows(/info status$/);
    terminal.type(UP);
    await shows(/info name$/);
    terminal.type(`\u0017version${CTRL_A}\u001b[3~\u001b[3~in\r`);
    await shows(/5\.0\.1baton/);
    await prompt();
    terminal.type("q\r");
    await endsWith(0);
  });

  it("Ctrl-C forgets the line and ends nothing", async () => {
    terminal.type("system_reset and more");
    await shows(/and more$/);
    terminal.type(CTRL_C);
    await shows(/\^C\r+\n/);
    await prompt();
    terminal.type("info name\r");
    expect(await shows(/demo\r+\n/)).not.toContain("unknown");
    await prompt();
    terminal.type("quit\r");
    await endsWith(0);
  });

  it("shows how far a migration is, takes the line back, and Ctrl-C cancels it", async () => {
    terminal.type("migrate exec:cat >/dev/null\r");
    await shows(/\rmigrate: 100%, \d\S* [KM]iB sent/);
    await prompt();
    terminal.type("cont\r");
    await prompt();
    terminal.type("migrate exec:sleep 60\r");
    await shows(/\rmigrate: \d+%, /);
    terminal.type(CTRL_C);
    await shows(/Error: Interrupted\r+\n/);
    await prompt();
    terminal.type("info status\r");
    await shows(/VM status: running\r+\n/);
    await prompt();
    terminal.type("quit\r");
    await endsWith(0);
  });

  it("follows the size of the window", async () => {
    terminal.type("info ");
    await shows(/info $/);
    terminal.type(TAB);
    terminal.type(TAB);
    await shows(/balloon +block +[\s\S]*\(qemu\) info $/);
    terminal.resize(24, 48);
    // What has been typed is shown anew.
    await shows(/\(qemu\) info $/);
    terminal.type(TAB);
    terminal.type(TAB);
    await shows(/balloon +block\s*\r?\n/);
    terminal.type(`${CTRL_C}quit\r`);
    await endsWith(0);
  });

  it("takes a paste of many lines, each answered in its turn", async () => {
    const lines = Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? "info\tname" : `nope${i}`));
    const paste = lines.map((line) => `${line}\r`).join("");
    for (let at = 0; at < paste.length; at += 500) {
      terminal.type(paste.slice(at, at + 500));
      terminal.refresh();
    }
    for (const line of lines) {
      const answer = line === "info\tname" ? "demo" : `unknown command: '${line}'`;
      await shows(new RegExp(`${answer}\\r+\\n`));
    }
    terminal.type("quit\r");
    await endsWith(0);
  });

  it("Ctrl-Z gives the terminal back while the program is stopped", async () => {
    terminal.type("info na");
    await shows(/info na$/);
    terminal.type(CTRL_Z);
    await until(() => stateOf(program.pid) === "T", "the stop");
    expect(terminal.settings.equals(before)).toBe(true);
    program.child.kill("SIGCONT");
    await shows(/\(qemu\) info na$/);
    expect(terminal.isRaw).toBe(true);
    terminal.type("me\r");
    await shows(/demo\r+\n/);
    terminal.type("quit\r");
    await endsWith(0);
  });

  it("Ctrl-D ends the monitor alone, and the terminal is as it was", async () => {
    terminal.type(CTRL_D);
    await until(() => terminal.settings.equals(before), "the terminal's own settings");
    expect(program.end).toBeUndefined();
    program.child.kill("SIGTERM");
    await endsWith(0);
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("puts the terminal back on %s", async (signal) => {
    terminal.type("info na");
    await shows(/info na$/);
    program.child.kill(signal);
    await endsWith(0);
  });
});
