import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { guestPath, tickerCmdline } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, customDevice, type VirtualMachine, type VmConfig } from "../src/index.js";
import { QmpServer } from "../src/surface/qmp/server.js";
import { type Message, TestClient } from "../src/surface/qmp/testing/client.js";
import { pvhProgram, readPortForEver } from "./support/machine-code.js";
import { tickerWord } from "./support/ticker.js";

const ticker: VmConfig = {
  memory: { sizeMiB: 96 },
  vcpus: 2,
  boot: { kernel: guestPath("ticker"), cmdline: tickerCmdline({ rate: 100, dot: 0 }) },
};

const timestamp = { seconds: expect.any(Number), microseconds: expect.any(Number) };
const stopped = { event: "STOP", data: {}, timestamp };
const resumed = { event: "RESUME", data: {}, timestamp };
const ok = { return: {} };
const socket = (index: number) => ({ "core-id": 0, "socket-id": index, "thread-id": 0 });

/** Programs written for people: `socat`, fed line by line, its output line by line. */
class Socat {
  readonly #process;
  readonly #lines: string[] = [];
  #rest = "";
  #wake = () => {};
  readonly exited: Promise<number | null>;

  constructor(path: string) {
    this.#process = spawn("socat", ["-", `UNIX-CONNECT:${path}`], { stdio: ["pipe", "pipe", "inherit"] });
    this.#process.stdout.setEncoding("utf8").on("data", (text: string) => {
      const parts = (this.#rest + text).split("\r\n");
      this.#rest = parts.pop() as string;
      this.#lines.push(...parts);
      this.#wake();
    });
    this.exited = new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("close", resolve);
    });
  }

  type(text: string): void {
    this.#process.stdin.write(text);
  }

  /** Kills the client at once, as a crash would. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async read(count: number): Promise<Message[]> {
    while (this.#lines.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#lines.splice(0, count).map((line) => JSON.parse(line));
  }

  /** All that is left when the server has hung up. */
  async rest(): Promise<Message[]> {
    await this.exited;
    return this.read(this.#lines.length);
  }
}

describeKvm("QMP of a real VM", () => {
  let directory: string;
  let path: string;
  let vm: VirtualMachine;
  let server: QmpServer;
  let quits: number;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "baton-qmp-"));
    path = join(directory, "qmp.sock");
    quits = 0;
  });

  afterEach(async () => {
    await server.close();
    await vm.close();
    rmSync(directory, { recursive: true });
  });

  async function start(config: VmConfig = ticker) {
    vm = await createVm(config);
    const quit = () => {
      quits++;
    };
    server = await QmpServer.listen({ kind: "unix", path, wait: false }, { vm, quit });
    await vm.start();
  }

  const ticks = () => tickerWord(vm.machine.memory, "TICKS");

  async function runs(): Promise<void> {
    const before = ticks();
    while (ticks() < before + 3) await delay(5);
  }

  it("replays the documented session: connect, query, stop, cont, quit, through socat", async () => {
    await start();
    const qmp = new Socat(path);
    const [greeting] = await qmp.read(1);
    expect(greeting).toEqual({
      QMP: {
        version: { qemu: { micro: 1, minor: 0, major: expect.any(Number) }, package: expect.any(String) },
        capabilities: [],
      },
    });

    qmp.type('{ "execute": "query-status" }\n');
    expect(await qmp.read(1)).toEqual([{ return: { running: true, singlestep: false, status: "running" } }]);

    qmp.type('{ "execute": "query-cpus" }\n');
    const cpu = (index: number) => ({
      CPU: index,
      arch: "x86",
      current: true,
      halted: false,
      props: socket(index),
      qom_path: `/machine/unattached/device[${index}]`,
      thread_id: expect.any(Number),
    });
    const [cpus] = await qmp.read(1);
    expect(cpus).toEqual({ return: [cpu(0), cpu(1)] });

    qmp.type('{ "execute": "query-hotpluggable-cpus" }\n');
    const place = (index: number) => ({
      props: socket(index),
      "qom-path": `/machine/unattached/device[${index}]`,
      type: "host-x86-cpu",
      "vcpus-count": 1,
    });
    expect(await qmp.read(1)).toEqual([{ return: [place(0), place(1)] }]);

    await runs();
    qmp.type('{"execute":"stop"}\n');
    expect(await qmp.read(2)).toEqual([stopped, ok]);
    const still = ticks();
    await delay(100);
    expect(ticks()).toBe(still);
    qmp.type('{ "execute": "query-status" }\n');
    expect(await qmp.read(1)).toEqual([{ return: { running: false, singlestep: false, status: "paused" } }]);

    qmp.type('{"execute":"cont"}\n');
    expect(await qmp.read(2)).toEqual([resumed, ok]);
    await runs();

    qmp.type('{"execute":"quit"}\n');
    const end = { event: "SHUTDOWN", data: { guest: false, reason: "host-qmp-quit" }, timestamp };
    expect(await qmp.rest()).toEqual([ok, end]);
    expect(quits).toBe(1);
    expect(await vm.wait()).toEqual({ reason: "shutdown", cause: "host-qmp-quit" });
  });

  it("gives the ids of the threads that run the vCPUs, and the places of those that are offline", async () => {
    await start({ ...ticker, maxVcpus: 4, topology: { sockets: 2, dies: 1, cores: 2, threads: 1 } });
    const qmp = await TestClient.connect(path);
    await qmp.next();
    const { return: cpus } = await qmp.execute("query-cpus-fast");
    const tids = cpus.map((cpu: Message) => cpu["thread-id"]);
    expect(new Set(tids).size).toBe(2);
    expect(readdirSync("/proc/self/task")).toEqual(expect.arrayContaining(tids.map(String)));
    const { return: places } = await qmp.execute("query-hotpluggable-cpus");
    expect(
      places.map((place: Message) => [place.props["socket-id"], place.props["core-id"], "qom-path" in place]),
    ).toEqual([
      [0, 0, true],
      [0, 1, true],
      [1, 0, false],
      [1, 1, false],
    ]);
    qmp.destroy();
  });

  it("answers pipelined commands in order, with ids of every JSON type", async () => {
    await start();
    const qmp = await TestClient.connect(path);
    await qmp.next();
    const ids = ["text", 0, -1.5, null, true, ["list", {}], { object: [null] }];
    const count = rounds({ quick: 20, full: 500 });
    for (let round = 0; round < count; round++) {
      for (const id of ids) {
        qmp.send({ execute: "stop", id }, { execute: "query-status", id }, { execute: "cont", id });
      }
      for (const id of ids) {
        expect(await qmp.take(5)).toEqual([
          stopped,
          { return: {}, id },
          { return: { status: "paused", running: false, singlestep: false }, id },
          resumed,
          { return: {}, id },
        ]);
      }
    }
    qmp.destroy();
  });

  it("serves one client after the other, also after one that was killed in mid command", async () => {
    await start();
    for (let round = 0; round < rounds({ quick: 5, full: 100 }); round++) {
      const dying = new Socat(path);
      await dying.read(1);
      const waiting = new Socat(path);
      dying.type('{"execute":"stop"}{"execute":"cont"}{"execute":"sto');
      dying.kill();
      await waiting.read(1);
      waiting.type('{"execute":"query-status"}');
      expect(await waiting.read(1)).toEqual([{ return: expect.objectContaining({ singlestep: false }) }]);
      waiting.kill();
      await Promise.all([dying.exited, waiting.exited]);
    }
    const last = await TestClient.connect(path);
    await last.next();
    expect((await last.execute("cont")).return).toEqual({});
    await runs();
    last.destroy();
  });

  it("resets the machine, and tells of what the guest does", async () => {
    await start();
    await runs();
    const qmp = await TestClient.connect(path);
    await qmp.next();
    const reset = (guest: boolean, reason: string) => ({ event: "RESET", data: { guest, reason }, timestamp });
    qmp.send({ execute: "system_reset" });
    expect(await qmp.take(2)).toEqual([reset(false, "host-qmp-system-reset"), ok]);
    expect((await qmp.execute("query-status")).return.status).toBe("running");
    qmp.send({ execute: "system_powerdown" });
    expect(await qmp.take(2)).toEqual([{ event: "POWERDOWN", data: {}, timestamp }, ok]);
    qmp.destroy();
  });

  it("says so where the guest cannot be stopped, and the guest runs on", async () => {
    let release = () => {};
    const answered = new Promise<number>((resolve) => {
      release = () => resolve(0);
    });
    let asked = false;
    const read = () => {
      asked = true;
      return answered;
    };
    const device = customDevice({
      name: "stuck",
      ranges: [{ space: "pio", base: 0x600n, length: 4 }],
      handler: { thread: "embedder", handler: { read, write: () => {} } },
    });
    await start({ memory: { sizeMiB: 16 }, boot: { kernel: pvhProgram(readPortForEver(0x600)) }, devices: [device] });
    const qmp = await TestClient.connect(path);
    await qmp.next();
    while (!asked) await delay(5);
    const answer = await qmp.execute("stop");
    expect(answer).toEqual({ error: { class: "GenericError", desc: expect.stringContaining("stuck") } });
    expect((await qmp.execute("query-status")).return.status).toBe("running");
    release();
    qmp.destroy();
  });

  it("quits while the guest is stopped, before it has run, and where it keeps guests that end themselves", async () => {
    await start({ ...ticker, policy: { onShutdown: "pause" } });
    const qmp = await TestClient.connect(path);
    qmp.send({ execute: "stop" }, { execute: "quit" });
    const lines = (await qmp.rest()).map((message) => message.event ?? Object.keys(message)[0]);
    expect(lines).toEqual(["QMP", "STOP", "return", "return", "SHUTDOWN"]);
    expect(quits).toBe(1);
    expect(await vm.wait()).toMatchObject({ cause: "host-qmp-quit" });
  });

  it("leaves nothing behind", async () => {
    const before = liveFds().length;
    await start();
    const qmp = await TestClient.connect(path);
    await qmp.next();
    qmp.send({ execute: "stop" }, { execute: "cont" });
    await server.close();
    await vm.close();
    expect(existsSync(path)).toBe(false);
    expect(liveFds().length).toBe(before);
    expect((await qmp.rest()).every((message) => "event" in message || "return" in message)).toBe(true);
  });
});
