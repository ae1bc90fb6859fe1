import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { SampledVm } from "../../statistics/sample.js";
import { MetricsServer } from "./server.js";

const scratch = mkdtempSync(join(tmpdir(), "baton-metrics-"));
const path = join(scratch, "metrics.sock");
const sockets: Socket[] = [];
let server: MetricsServer;

const vm = {
  runState: "running",
  config: { name: "web", memory: { sizeMiB: 32 } },
  machine: { vcpus: { threads: [] }, virtio: { devices: [] } },
} as unknown as SampledVm;

beforeEach(async () => {
  server = await MetricsServer.listen({ kind: "unix", path }, vm, { timeoutMs: 300 });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** The status and text that a request gets. */
function ask(url: string, method = "GET"): Promise<[status: number | undefined, text: string]> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: path, path: url, method, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => resolve([response.statusCode, text]));
    });
    asked.on("error", reject).end();
  });
}

/** What a client gets that was silent for too long. */
const TIMED_OUT = /^(HTTP\/1.1 408|$)/;

/** A client that says this and no more; resolves, when the server has ended it, to what it got. */
function client(says: string): Promise<string> {
  const socket = connect(path);
  sockets.push(socket);
  let text = "";
  socket.setEncoding("utf8").on("data", (part: string) => (text += part));
  socket.on("error", () => {});
  socket.write(says);
  return new Promise((resolve) => socket.once("close", () => resolve(text)));
}

describe("the metrics server", () => {
  test("answers GET /metrics over a socket of the owner alone, which is gone at the end", async () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const [status, text] = await ask("/metrics");
    expect([status, text]).toEqual([
      200,
      expect.stringContaining('baton_vm_memory_bytes{vm="web",kind="size"} 33554432\n'),
    ]);
    expect(await ask("/metrics?a=b", "HEAD")).toEqual([200, ""]);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  test("refuses other pages and methods", async () => {
    expect(await ask("/")).toEqual([404, "Only /metrics is here\n"]);
    expect(await ask("/metrics/x")).toEqual([404, "Only /metrics is here\n"]);
    expect(await ask("/metrics", "POST")).toEqual([405, "Only GET is answered\n"]);
  });

  test.each([
    ["says nothing", "", TIMED_OUT],
    ["does not end its request", "GET /metrics HTTP/1.1\r\nHost:", TIMED_OUT],
    ["sends endless headers", `GET /metrics HTTP/1.1\r\nX: ${"x".repeat(20_000)}`, /^HTTP\/1.1 431/],
    ["speaks no HTTP", "hello\r\n\r\n", /^HTTP\/1.1 400/],
  ])("disconnects a client that %s, and goes on", async (_, says, answer) => {
    expect(await client(says)).toMatch(answer);
    expect((await ask("/metrics"))[0]).toBe(200);
  });

  test("disconnects clients that are too many, and serves again when the others have gone", async () => {
    const silent = Array.from({ length: 40 }, () => client(""));
    expect(await Promise.all(silent)).toEqual(Array(40).fill(expect.stringMatching(TIMED_OUT)));
    expect((await ask("/metrics"))[0]).toBe(200);
  });
});
