/** Inside the testbed: a QMP session through `socat`, line by line as a person would type it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

const ANSWER_MS = 60_000;

/** The members that `expected` has, wherever they are; the time of an event may be any. */
function matches(line, expected) {
  const actual = JSON.parse(line);
  if (expected.timestamp !== undefined) {
    assert.ok(Number.isInteger(actual.timestamp?.seconds) && Number.isInteger(actual.timestamp?.microseconds), line);
    expected = { ...expected, timestamp: actual.timestamp };
  }
  assert.deepEqual(actual, { ...actual, ...expected });
}

/** A connection of `socat` to a QMP server. */
export class SocatSession {
  #lines = [];
  #rest = "";
  #wake = () => {};
  #child;

  static async open(path) {
    while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 50));
    const session = new SocatSession();
    session.#child = spawn("/usr/bin/socat", ["-", `UNIX-CONNECT:${path}`], { stdio: ["pipe", "pipe", "inherit"] });
    session.#child.stdout.setEncoding("utf8").on("data", (text) => {
      const parts = (session.#rest + text).split("\r\n");
      session.#rest = parts.pop();
      session.#lines.push(...parts);
      session.#wake();
    });
    assert.ok((await session.line()).startsWith('{"QMP"'));
    return session;
  }

  /** The next line of the server. */
  async line() {
    const deadline = Date.now() + ANSWER_MS;
    while (this.#lines.length === 0) {
      assert.ok(Date.now() < deadline, "the server does not answer");
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, ANSWER_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#lines.shift();
  }

  /** Sends what stands after `<-` and expects what stands after `->`, in their order, with nothing in between. */
  async replay(text) {
    for (const each of text.trim().split("\n")) {
      const line = each.trim();
      if (line.startsWith("<- ")) this.#child.stdin.write(`${line.slice(3)}\n`);
      else if (line.startsWith("-> ")) matches(await this.line(), JSON.parse(line.slice(3)));
      else assert.fail(`neither sent nor received: ${line}`);
    }
  }

  /** The answer to a command. */
  async execute(command, args = {}) {
    this.#child.stdin.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    return JSON.parse(await this.line());
  }

  close() {
    this.#child.stdin.end();
  }
}
