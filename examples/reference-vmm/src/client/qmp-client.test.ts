import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "@jest/globals";
import { QmpServer } from "../surface/qmp/server.js";
import { fakeContext } from "../surface/qmp/testing/fake-vm.js";
import { askVm } from "./qmp-client.js";
import { reportOf } from "./vm-report.js";

const scratch = mkdtempSync(join(tmpdir(), "baton-client-"));
const servers: Server[] = [];
let count = 0;
const fresh = () => join(scratch, `s${++count}`);

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** A server that does with each client what `talk` does. */
async function serverThat(talk: (client: Socket) => void): Promise<string> {
  const path = fresh();
  const server = createServer((client) => {
    client.on("error", () => {});
    talk(client);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

describe("asking a VM", () => {
  test("gives what its commands return, passes by events, and leaves the server to others", async () => {
    const path = fresh();
    await using _server = await QmpServer.listen({ kind: "unix", path, wait: false }, fakeContext({ name: "web" }));
    for (let i = 0; i < 3; i++) {
      expect(await askVm(path, [["stop"], ["query-status"], ["cont"], ["query-name"]])).toEqual([
        {},
        { status: "paused", running: false, singlestep: false },
        {},
        { name: "web" },
      ]);
    }
    await expect(askVm(path, [["nope"]])).rejects.toMatchObject({
      code: "VM_REFUSED",
      message: "nope: The command nope has not been found",
    });
  });

  test.each<[string, (client: Socket) => void, RegExp]>([
    ["says nothing", () => {}, /no answer within 200 ms/],
    ["goes away", (client) => void client.end(), /has closed the connection/],
    ["greets and goes away", (client) => void client.end('{"QMP":{}}\r\n'), /has closed the connection/],
    ["speaks no JSON", (client) => void client.write("hello\r\n"), /no JSON/],
    ["never ends its line", (client) => void client.write(Buffer.alloc(17 * 2 ** 20, 0x20)), /has no end/],
  ])("fails where the other side %s", async (_, talk, message) => {
    const path = await serverThat(talk);
    const failure = expect.objectContaining({ code: "VM_NOT_ANSWERING", message: expect.stringMatching(message) });
    const timeoutMs = message.source.includes("200") ? 200 : 10_000;
    await expect(askVm(path, [["query-status"]], { timeoutMs })).rejects.toEqual(failure);
  });

  test("a report says so where there is no answer", async () => {
    const entry = { name: "web", pid: 1, startTime: 1n, bootId: "", since: 5 };
    expect(await reportOf({ ...entry, sockets: {} })).toMatchObject({ name: "web", state: "starting" });
    const gone = await reportOf({ ...entry, sockets: { qmp: fresh() } });
    expect(gone).toEqual({
      name: "web",
      pid: 1,
      since: 5,
      state: "not answering",
      statistics: { vm: [], vcpu: [], disk: [], network: [] },
    });
  });
});
