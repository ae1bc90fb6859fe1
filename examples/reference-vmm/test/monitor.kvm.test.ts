import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { getRegisters } from "@baton/core-kvm";
import { guestPath, tickerCmdline } from "@baton/guests";
import { liveFds } from "@baton/linux";
import { afterEach, beforeEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, serial, type VirtualMachine, type VmConfig } from "../src/index.js";
import { MonitorServer } from "../src/surface/monitor/server.js";
import { MonitorClient } from "../src/surface/monitor/testing/client.js";
import { QmpServer } from "../src/surface/qmp/server.js";
import { TestClient } from "../src/surface/qmp/testing/client.js";
import { baton, END_TIMEOUT_MS, killPrograms } from "./support/baton.js";
import { until } from "./support/until.js";

const ticker: VmConfig = {
  name: "demo",
  memory: { sizeMiB: 96 },
  vcpus: 2,
  boot: { kernel: guestPath("ticker"), cmdline: tickerCmdline({ rate: 100, dot: 0 }) },
  devices: [serial()],
};

/** Where the ticker's code is loaded. */
const IMAGE = 0x100000n;

describeKvm("the monitor of a real VM", () => {
  let directory: string;
  let path: string;
  let vm: VirtualMachine;
  const closing: { close(): Promise<void> }[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "baton-monitor-"));
    path = join(directory, "monitor.sock");
  });

  afterEach(async () => {
    for (const one of closing.splice(0).reverse()) await one.close();
    await killPrograms();
    rmSync(directory, { recursive: true });
  });

  async function start(config = ticker): Promise<void> {
    vm = await createVm(config);
    closing.push(vm);
    closing.push(await MonitorServer.listen({ kind: "unix", path, wait: false }, { vm, quit: () => {} }));
    await vm.start();
  }

  async function client(at = path): Promise<MonitorClient> {
    const monitor = await MonitorClient.connect(at);
    await monitor.prompt();
    return monitor;
  }

  /** The bytes that a dump of single bytes shows. */
  const bytesOf = (dump: string) =>
    Buffer.from(
      dump
        .trimEnd()
        .split("\n")
        .flatMap((line) => line.split(" ").slice(1).map(Number)),
    );

  it("shows physical memory as it is, of a guest that runs and is not told", async () => {
    await start();
    const seen: string[] = [];
    vm.onEvent(({ type }) => seen.push(type));
    const monitor = await client();
    const dump = await monitor.ask("xp /1024xb 0x100000");
    expect(dump).toMatch(/^0000000000100000: 0x/);
    expect(bytesOf(dump).equals(vm.machine.memory.read(IMAGE, 1024))).toBe(true);
    expect(await monitor.ask("xp 0x100000")).toMatch(/^0000000000100000: 0x[0-9a-f]{2}\n$/);
    expect(await monitor.ask("xp /2xg 96*1024*1024 - 8")).toBe("0000000005fffff8: Cannot access memory\n");
    expect(await monitor.ask("xp 0xfee00000")).toBe("00000000fee00000: Cannot access memory\n");
    expect(vm.runState).toBe("running");
    expect(seen).toEqual([]);
  });

  it("shows virtual memory as the current vCPU sees it, with its registers in expressions", async () => {
    await start();
    const monitor = await client();
    await monitor.ask("stop");
    for (const [index, vcpu] of vm.machine.vm.vcpus.entries()) {
      expect(await monitor.ask(`cpu ${index}`)).toBe("");
      const { rip } = getRegisters(vcpu);
      const gpa = vcpu.translate(rip);
      const dump = await monitor.ask("x /16xb $pc");
      if (gpa === null) expect(dump).toMatch(/: Cannot access memory\n$/);
      else {
        expect(dump.slice(0, 17)).toBe(`${rip.toString(16).padStart(16, "0")}:`);
        expect(bytesOf(dump).equals(vm.machine.memory.read(gpa, 16))).toBe(true);
      }
    }
    expect(await monitor.ask("x 0xffff800000000000")).toBe("ffff800000000000: Cannot access memory\n");
    expect(await monitor.ask("x $nope")).toMatch(/^unknown register '\$nope'\n/);
  });

  it("looks into a guest that ends itself, which ends no other way for it", async () => {
    for (let round = 0; round < rounds({ quick: 5, full: 200 }); round++) {
      const hello = { kernel: guestPath("hello"), cmdline: "primes=1000" };
      await start({ memory: { sizeMiB: 32 }, boot: hello, devices: [serial()] });
      let looks = 0;
      let ended = false;
      const outcome = vm.wait().finally(() => {
        ended = true;
      });
      while (!ended) {
        looks += await vm.inspect(() => 1);
        // The guest has to get on in between.
        await delay(2);
      }
      expect(await outcome).toMatchObject({ reason: "debug-exit", exitCode: 33 });
      expect(vm.runState).toBe("shutdown");
      expect(looks).toBeGreaterThan(1);
      for (const one of closing.splice(0).reverse()) await one.close();
    }
  });

  it("describes the machine's real map and devices", async () => {
    await start();
    const monitor = await client();
    const map = await monitor.ask("info mtree");
    expect(map).toContain("    0000000000000000-0000000005ffffff (prio 0, ram): alias ram-below-4g @pc.ram ");
    expect(map).toContain("    00000000000003f8-00000000000003ff (prio 0, i/o): serial0\n");
    for (const { name, ranges } of vm.machine.bus.devices) {
      for (const { base } of ranges) {
        expect(map).toMatch(
          new RegExp(`^ {4}${base.toString(16).padStart(16, "0")}-.* \\(prio 0, i/o\\): ${name}$`, "m"),
        );
      }
    }
    expect(await monitor.ask("info qtree")).toContain(
      '      dev: isa-serial, id ""\n        index = 0 (0x0)\n        chardev = "serial0"\n        iobase = 1016 (0x3f8)\n',
    );
  });

  it("several monitors and QMP act on one VM", async () => {
    await start();
    const qmpPath = join(directory, "qmp.sock");
    const server = await QmpServer.listen({ kind: "unix", path: qmpPath, wait: false }, { vm, quit: () => {} });
    closing.push(server);
    const [one, other] = [await client(), await client()];
    const qmp = await TestClient.connect(qmpPath);
    await qmp.next();
    await one.ask("stop");
    expect(await other.ask("info status")).toBe("VM status: paused\n");
    const line = (text: string) => qmp.execute("human-monitor-command", { "command-line": text });
    expect(await line("info status")).toEqual({ return: "VM status: paused\r\n" });
    expect((await line("xp /1xw 0x100000")).return).toMatch(/^0000000000100000: 0x[0-9a-f]{8}\r\n$/);
    qmp.send({ execute: "human-monitor-command", arguments: { "command-line": "cont" }, id: 7 });
    expect(await qmp.take(2)).toMatchObject([{ event: "RESUME" }, { return: "", id: 7 }]);
    expect(await other.ask("info status")).toBe("VM status: running\n");
    await one.ask("system_reset");
    expect((await qmp.next()).event).toBe("RESET");
    qmp.destroy();
  });

  it("leaves nothing behind", async () => {
    const before = liveFds().length;
    await start();
    const monitors = [await client(), await client()];
    for (const one of closing.splice(0).reverse()) await one.close();
    await Promise.all(monitors.map((one) => one.gone()));
    expect(liveFds().length).toBe(before);
  });

  it("replays the session of docs/monitor.md", async () => {
    const page = readFileSync(fileURLToPath(new URL("../../../docs/monitor.md", import.meta.url)), "utf8");
    const session = /```console\n\$ baton (.*?) &\n\$ socat .*\n([\s\S]*?)```/.exec(page);
    const [, options, shown] = session as unknown as [string, string, string];
    const root = fileURLToPath(new URL("../../../", import.meta.url));
    const program = baton(options.replace("/run/vm.mon", path).split(" "), { cwd: root });
    await until(
      async () =>
        MonitorClient.connect(path).then(
          (one) => one.socket.destroy() && true,
          () => false,
        ),
      path,
    );
    const monitor = await client();
    const [banner, ...steps] = shown.split("(qemu) ");
    expect(monitor.text).toBe(`${banner?.replaceAll("\n", "\r\n")}(qemu) `);
    for (const step of steps.slice(0, -1)) {
      const [line, ...output] = step.split("\n");
      const pattern = output.join("\n").replaceAll(/thread_id=\d+/g, "thread_id=N");
      expect((await monitor.ask(line as string)).replaceAll(/thread_id=\d+/g, "thread_id=N")).toBe(pattern);
    }
    expect(steps.at(-1)).toBe("quit\n");
    monitor.send("quit\n");
    expect(await program.ended(END_TIMEOUT_MS)).toBe(0);
  });
});
