import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { fakeContext } from "../qmp/testing/fake-vm.js";
import { MonitorServer, type MonitorServerOptions } from "./server.js";
import { MAX_LINE } from "./session.js";
import { MonitorClient } from "./testing/client.js";

const RUNNING = "VM status: running\n";
const CTRL_C = "\u0003";
const UP = "\u001b[A";
const LEFT = "\u001b[D";

describe("MonitorServer", () => {
  let directory: string;
  let path: string;
  let server: MonitorServer;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "baton-monitor-"));
    path = join(directory, "monitor.sock");
  });

  afterEach(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });

  async function serve(context = fakeContext(), options: MonitorServerOptions = {}, wait = false) {
    server = await MonitorServer.listen({ kind: "unix", path, wait }, context, options);
    return context;
  }

  async function client(prompt?: string): Promise<MonitorClient> {
    const made = await MonitorClient.connect(path, prompt);
    await made.prompt();
    return made;
  }

  test("greets, asks, answers; a plain pipe sees what a terminal sees", async () => {
    await serve();
    const monitor = await client();
    expect(monitor.text).toMatch(/^Baton \d+\.\d+\.\d+ monitor - type 'help' for more information\r\n\(qemu\) $/);
    expect(await monitor.ask("info status")).toBe(RUNNING);
    expect(await monitor.ask("stop")).toBe("");
    expect(await monitor.ask("info status")).toBe("VM status: paused\n");
    expect(await monitor.ask("nonsense")).toBe("unknown command: 'nonsense'\n");
  });

  test("asks with another prompt where it is given one", async () => {
    await serve(fakeContext(), { prompt: "baton> " });
    const monitor = await client("baton> ");
    expect(await monitor.ask("info status")).toBe(RUNNING);
    expect(monitor.text).not.toContain("(qemu)");
  });

  test("edits lines and remembers them, key by key as a raw terminal sends them", async () => {
    await serve();
    const monitor = await client();
    for (const key of ["i", "n", "o", LEFT, "f", "\u0005", " ", "s", "t", "a", "\t", "\r"]) {
      monitor.send(key);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await monitor.until("VM status: running\r\n");
    await monitor.prompt();
    monitor.send(UP);
    await monitor.until("info status");
    monitor.send("\r\n");
    await monitor.until("VM status: running\r\n");
  });

  test("Ctrl-C forgets the line, Ctrl-D on an empty one ends the session, Ctrl-Z stops nobody", async () => {
    await serve();
    const monitor = await client();
    monitor.send(`system_reset${CTRL_C}`);
    await monitor.until("^C\r\n");
    await monitor.prompt();
    monitor.send("\u001a");
    expect(await monitor.ask("info status")).toBe(RUNNING);
    monitor.send("\u0004");
    await monitor.gone();
  });

  test("carries out pasted lines in order, each answer before the next line", async () => {
    await serve();
    const monitor = await client();
    const lines = Array.from({ length: 300 }, (_, i) => (i % 2 === 0 ? "info status" : `nope${i}`));
    monitor.send(lines.map((line) => `${line}\n`).join(""));
    for (const line of lines) {
      await monitor.until(`${line}\r\n`);
      const text = await monitor.prompt();
      expect(text).toBe(
        line === "info status" ? `VM status: running\r\n(qemu) ` : `unknown command: '${line}'\r\n(qemu) `,
      );
    }
  });

  test("Ctrl-C has a command that waits give up, and forgets what was typed behind it", async () => {
    let waits = () => {};
    const waiting = new Promise<void>((resolve) => {
      waits = resolve;
    });
    const operation = (signal?: AbortSignal) =>
      new Promise<void>((_, reject) => {
        waits();
        signal?.addEventListener("abort", () => reject(signal.reason));
      });
    await serve(fakeContext({ operation }));
    const monitor = await client();
    monitor.send("stop\nsystem_reset\n");
    await waiting;
    monitor.send(CTRL_C);
    await monitor.until("Error: Interrupted\r\n(qemu) ");
    expect(await monitor.ask("info status")).toBe(RUNNING);
    expect(monitor.text).not.toContain("system_reset");
  });

  test("a client that goes away in mid command disturbs nobody, and the command is done", async () => {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let begun = () => {};
    const begins = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const operation = () => {
      begun();
      return released;
    };
    const context = await serve(fakeContext({ operation }));
    const dying = await client();
    const other = await client();
    dying.send("stop\ncont\n");
    await begins;
    dying.socket.destroy();
    expect(await other.ask("info status")).toBe(RUNNING);
    release();
    while (context.vm.runState === "running") await new Promise((resolve) => setImmediate(resolve));
    expect(await other.ask("info status")).toBe("VM status: paused\n");
  });

  test("refuses lines that are too long, and takes the next one", async () => {
    await serve();
    const monitor = await client();
    const refusal = `line too long: at most ${MAX_LINE} characters\r\n(qemu) `;
    for (const length of [MAX_LINE + 1, 100_000, 4_000_000]) {
      monitor.send(`${"x".repeat(length)}\n`);
      await monitor.until(refusal);
    }
    monitor.send("y".repeat(100_000));
    monitor.send(CTRL_C);
    await monitor.until("^C\r\n");
    await monitor.prompt();
    expect(await monitor.ask("info status")).toBe(RUNNING);
  });

  test("survives garbage", async () => {
    await serve();
    let seed = 12345;
    const random = () => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed >> 16;
    };
    for (let round = 0; round < 10; round++) {
      const dirty = await client();
      dirty.send(Buffer.from(Array.from({ length: 20_000 }, () => random() & 0xff)));
      const clean = await client();
      expect(await clean.ask("info status")).toMatch(/^VM status: /);
      dirty.socket.destroy();
      clean.socket.destroy();
    }
  });

  test("has several clients at once, up to a limit", async () => {
    await serve();
    const clients = [];
    for (let i = 0; i < 16; i++) clients.push(await client());
    const refused = await MonitorClient.connect(path);
    await refused.until("The monitor has 16 clients already\r\n");
    await refused.gone();
    expect(await Promise.all(clients.map((one) => one.ask("info status")))).toEqual(clients.map(() => RUNNING));
    clients[0]?.socket.destroy();
    for (;;) {
      const next = await MonitorClient.connect(path);
      const first = await next.until("\r\n");
      if (first.startsWith("Baton")) break;
      await next.gone();
    }
  });

  test("a client that types for ever and never reads is left waiting, in bounded memory", async () => {
    await serve();
    const greedy = await client();
    greedy.socket.pause();
    const flood = "help\n".repeat(20_000);
    let sent = 0;
    while (greedy.socket.writableLength < 1 << 20 && sent < 64 << 20) {
      greedy.send(flood);
      sent += flood.length;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(sent - greedy.socket.writableLength).toBeLessThan(8 << 20);
    const other = await client();
    expect(await other.ask("info status")).toBe(RUNNING);
    greedy.socket.destroy();
  });

  test("quit ends the session, then the program", async () => {
    const context = await serve();
    const monitor = await client();
    monitor.send("quit\nsystem_reset\n");
    await monitor.gone();
    expect(monitor.text).toMatch(/quit\r\n$/);
    while (context.quits === 0) await new Promise((resolve) => setImmediate(resolve));
  });

  test("with wait, the VM waits for the first client; closing removes the socket's file", async () => {
    await serve(fakeContext(), {}, true);
    let connected = false;
    void server.connected.then(() => {
      connected = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(connected).toBe(false);
    const monitor = await client();
    await server.connected;
    await server.close();
    await monitor.gone();
    expect(existsSync(path)).toBe(false);
  });
});
