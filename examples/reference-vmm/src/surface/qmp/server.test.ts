import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect as netConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { liveFds } from "@baton/linux";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { SurfaceAddress } from "../../options/options.js";
import { QmpServer } from "./server.js";
import { TestClient } from "./testing/client.js";
import { fakeContext } from "./testing/fake-vm.js";

const greeting = {
  QMP: {
    version: {
      qemu: { micro: expect.any(Number), minor: expect.any(Number), major: expect.any(Number) },
      package: expect.stringMatching(/^baton-\d/),
    },
    capabilities: [],
  },
};
const timestamp = { seconds: expect.any(Number), microseconds: expect.any(Number) };
const stopped = { event: "STOP", data: {}, timestamp };
const resumed = { event: "RESUME", data: {}, timestamp };
const shutDown = { event: "SHUTDOWN", data: { guest: false, reason: "host-qmp-quit" }, timestamp };
const ok = { return: {} };

describe("QmpServer", () => {
  let directory: string;
  let path: string;
  const undo: (() => void | Promise<void>)[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "baton-qmp-"));
    path = join(directory, "qmp.sock");
  });

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
    rmSync(directory, { recursive: true });
  });

  async function serve(context = fakeContext(), address: SurfaceAddress = { kind: "unix", path, wait: false }) {
    const warnings: string[] = [];
    const server = await QmpServer.listen(address, context, { warn: (message) => warnings.push(message) });
    undo.push(() => server.close());
    return { server, context, warnings };
  }

  async function client(address: string | number = path) {
    const connected = await TestClient.connect(address);
    undo.push(() => connected.destroy());
    return connected;
  }

  async function greeted(address: string | number = path) {
    const connected = await client(address);
    expect(await connected.next()).toEqual(greeting);
    return connected;
  }

  test("greets at once; every command works without negotiation", async () => {
    await serve();
    const qmp = await greeted();
    expect(await qmp.execute("query-status")).toEqual({
      return: { status: "running", running: true, singlestep: false },
    });
    expect(await qmp.execute("qmp_capabilities")).toEqual(ok);
    expect(await qmp.execute("qmp_capabilities", { enable: [] })).toEqual(ok);
    expect(await qmp.execute("qmp_capabilities", { enable: ["oob"] })).toEqual({
      error: { class: "GenericError", desc: "Capability oob not available" },
    });
  });

  test("ends every line with CRLF and writes ASCII only", async () => {
    await serve(fakeContext({ name: "Gäste \u{1f600}" }));
    const socket = netConnect(path);
    undo.push(() => void socket.destroy());
    let bytes = "";
    socket.on("data", (chunk) => {
      bytes += chunk.toString("latin1");
    });
    socket.write('{"execute":"query-name","id":"\u00e9"}');
    while (!bytes.includes("return")) await sleep(5);
    expect(bytes).toMatch(/^[ -~]+\r\n[ -~]+\r\n$/);
    expect(bytes).toContain('{"return":{"name":"G\\u00e4ste \\ud83d\\ude00"},"id":"\\u00e9"}\r\n');
  });

  test("sends STOP and RESUME before the answers, to a client that begins with them", async () => {
    await serve();
    const qmp = await greeted();
    qmp.send({ execute: "stop" }, { execute: "cont" });
    expect(await qmp.take(4)).toEqual([stopped, ok, resumed, ok]);
  });

  test("sends no events before the first command, nor before the answer to qmp_capabilities", async () => {
    const { context } = await serve();
    const qmp = await greeted();
    await context.vm.pause();
    qmp.send({ execute: "qmp_capabilities" });
    expect(await qmp.next()).toEqual(ok);
    await context.vm.resume();
    expect(await qmp.next()).toEqual(resumed);
  });

  test("answers quit first, then sends SHUTDOWN, then closes the connection, then ends the program", async () => {
    const { context } = await serve();
    const qmp = await greeted();
    qmp.send({ execute: "quit", id: 7 }, { execute: "query-status" });
    expect(await qmp.rest()).toEqual([{ return: {}, id: 7 }, shutDown]);
    expect(context.quits).toBe(1);
  });

  test.each([
    ["string", '"x"'],
    ["number", "1"],
    ["fraction", "-1.5"],
    ["big number", "18446744073709551615"],
    ["null", "null"],
    ["boolean", "false"],
    ["array", "[1,[2]]"],
    ["object", '{"a":{"__proto__":1}}'],
  ])("echoes an id that is a %s, on errors as well", async (_type, id) => {
    await serve();
    const qmp = await greeted();
    qmp.send(
      `{"execute":"query-name","id":${id}}{"execute":"nope","id":${id}}{"execute":"stop","arguments":{"x":1},"id":${id}}`,
    );
    qmp.send(`{"id":${id}}`);
    await qmp.take(4);
    expect(qmp.lines.slice(1)).toEqual([
      `{"return":{},"id":${id}}`,
      `{"error":{"class":"CommandNotFound","desc":"The command nope has not been found"},"id":${id}}`,
      `{"error":{"class":"GenericError","desc":"Parameter 'x' is unexpected"},"id":${id}}`,
      `{"error":{"class":"GenericError","desc":"QMP input lacks member 'execute'"},"id":${id}}`,
    ]);
  });

  test.each([
    ["[]", "QMP input must be a JSON object"],
    ['"stop"', "QMP input must be a JSON object"],
    ['{"execute":1}', "QMP input member 'execute' must be a string"],
    ['{"execute":"stop","arguments":[]}', "QMP input member 'arguments' must be an object"],
    ['{"execute":"stop","bogus":1}', "QMP input member 'bogus' is unexpected"],
    [
      '{"exec-oob":"stop"}',
      "QMP input member 'exec-oob' is unexpected: the capability 'oob' is not offered, use 'execute'",
    ],
    ["{]", "JSON parse error, key is not a string in object"],
    ["nonsense ", "JSON parse error, invalid keyword 'nonsense'"],
    ["\xff", "JSON parse error, stray '\\xc3'"],
  ])("answers %s with an error and goes on", async (text, desc) => {
    await serve();
    const qmp = await greeted();
    qmp.send(text);
    expect(await qmp.next()).toEqual({ error: { class: "GenericError", desc } });
    expect(await qmp.execute("query-name")).toEqual(ok);
  });

  test("carries commands out in order, one at a time, however long one takes", async () => {
    let concurrent = 0;
    const operation = async () => {
      expect(++concurrent).toBe(1);
      await sleep(20);
      concurrent--;
    };
    await serve(fakeContext({ operation }));
    const qmp = await greeted();
    for (let i = 0; i < 5; i++)
      qmp.send({ execute: "stop", id: i }, { execute: "query-status", id: `${i}s` }, { execute: "cont", id: [i] });
    const answers = (await qmp.take(25)).filter((message) => "return" in message);
    expect(answers.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4].flatMap((i) => [i, `${i}s`, [i]]));
    expect(answers.filter(({ id }) => typeof id === "string").map((a) => a.return.status)).toEqual(
      Array(5).fill("paused"),
    );
  });

  test("serves one client after the other; the second waits without a greeting", async () => {
    await serve();
    const first = await greeted();
    const second = await client();
    await sleep(50);
    expect(second.lines).toEqual([]);
    expect(await first.execute("query-name")).toEqual(ok);
    first.destroy();
    expect(await second.next()).toEqual(greeting);
    expect(await second.execute("query-name")).toEqual(ok);
  });

  test("a client that shuts down its sending side gets all answers, then the end", async () => {
    await serve();
    const qmp = await greeted();
    qmp.socket.end('{"execute":"stop"}{"execute":"query-status"}{"execute":');
    expect(await qmp.rest()).toEqual([stopped, ok, { return: expect.objectContaining({ status: "paused" }) }]);
    await greeted();
  });

  test("a client that dies in mid command does no harm; the next is served when the command is done", async () => {
    let finish = () => {};
    const operation = () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      });
    const { context } = await serve(fakeContext({ operation }));
    const dying = await greeted();
    dying.send({ execute: "stop" });
    await sleep(30);
    dying.destroy();
    const next = await client();
    await sleep(30);
    expect(next.lines).toEqual([]);
    finish();
    expect(await next.next()).toEqual(greeting);
    expect(context.vm.runState).toBe("paused");
  });

  test("close flushes, disconnects, removes the file and leaks nothing; it may be repeated", async () => {
    const before = liveFds().length;
    const { server, context } = await serve(fakeContext({ operation: () => new Promise(() => {}) }));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const qmp = await greeted();
    qmp.send({ execute: "query-name" }, { execute: "stop" }, { execute: "quit" });
    await qmp.next();
    await Promise.all([server.close(), server.close()]);
    expect(await qmp.rest()).toEqual([]);
    expect(existsSync(path)).toBe(false);
    expect(liveFds().length).toBe(before);
    expect(context.quits).toBe(0);
    await expect(TestClient.connect(path)).rejects.toThrow("ENOENT");
  });

  test("close leaves a file alone that is no longer its own", async () => {
    const { server } = await serve();
    rmSync(path);
    writeFileSync(path, "another's");
    await server.close();
    expect(existsSync(path)).toBe(true);
  });

  test("names the path where another process listens", async () => {
    await serve();
    await expect(QmpServer.listen({ kind: "unix", path, wait: false }, fakeContext())).rejects.toMatchObject({
      code: "SOCKET_IN_USE",
      message: expect.stringContaining(path),
    });
  });

  test("with wait, `connected` resolves with the first client; it rejects where the server is closed before", async () => {
    const { server } = await serve(fakeContext(), { kind: "unix", path, wait: true });
    let connected = false;
    void server.connected.then(() => {
      connected = true;
    });
    await sleep(20);
    expect(connected).toBe(false);
    await greeted();
    await server.connected;
    const other = await serve(fakeContext(), { kind: "unix", path: `${path}2`, wait: true });
    await other.server.close();
    await expect(other.server.connected).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });

  test("serves TCP, on a port of the system's choice", async () => {
    const { server } = await serve(fakeContext(), { kind: "tcp", host: "localhost", port: 0, wait: false });
    await server.connected;
    const { port } = server.address as { port: number };
    const qmp = await greeted(port);
    expect(await qmp.execute("query-name")).toEqual(ok);
    const taken = QmpServer.listen({ kind: "tcp", host: "127.0.0.1", port, wait: false }, fakeContext());
    await expect(taken).rejects.toMatchObject({
      code: "QMP_LISTEN",
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });

  test("a client that sends for ever and never reads is left waiting, in bounded memory", async () => {
    const { context, warnings } = await serve();
    const greedy = await client();
    greedy.socket.pause();
    const flood = '{"execute":"query-qmp-schema"}'.repeat(2000);
    let taken = 0;
    for (let i = 0; i < 200; i++) {
      if (greedy.socket.writableLength > 1 << 20) break;
      greedy.send(flood);
      taken += flood.length;
      await sleep(1);
    }
    await sleep(200);
    expect(taken - greedy.socket.writableLength).toBeLessThan(8 << 20);
    for (let i = 0; i < 3000; i++) await (i % 2 ? context.vm.resume() : context.vm.pause());
    expect(warnings).toEqual([]);
    greedy.destroy();
    await greeted();
    expect(warnings).toEqual([expect.stringMatching(/^QMP: \d+ events were dropped/)]);
  });
});
