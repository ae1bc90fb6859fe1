import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { guestPath, parseBlkbench } from "@baton/guests";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { TestClient } from "../src/surface/qmp/testing/client.js";
import {
  baton,
  END_TIMEOUT_MS,
  killPrograms,
  Program,
  runtimeDirectory,
  Scratch,
  tickerGuest,
} from "./support/baton.js";
import { TerminalWindow } from "./support/terminal.js";
import { until } from "./support/until.js";

const scratch = new Scratch();
afterEach(() => killPrograms());
afterAll(() => scratch.remove());

const socketOf = (name: string, file: string) => join(runtimeDirectory, "baton", name, file);

/** The output of a `baton` that ends well. */
async function said(...args: string[]): Promise<string> {
  const program = baton(args);
  expect([await program.ended(), program.stderr]).toEqual([0, ""]);
  return program.stdout;
}

/** Runs a VM with a name, and waits until it runs and is found by it. */
async function vmNamed(name: string, args: readonly string[] = tickerGuest): Promise<Program> {
  const vm = baton([...args, "-name", name]);
  await until(async () => {
    if (vm.end !== undefined) throw new Error(`ended with ${vm.end}: ${vm.stderr}`);
    return JSON.parse(await said("ps", "--json")).some((one: { state: string }) => one.state === "running");
  }, `the VM ${name}`);
  return vm;
}

/** The samples of metrics that curl gets, by name and labels. */
async function metrics(path: string): Promise<ReadonlyMap<string, number>> {
  const curl = new Program("curl", ["-sS", "--fail", "--unix-socket", path, "http://vm/metrics"]);
  expect([await curl.ended(), curl.stderr]).toEqual([0, ""]);
  const lines = curl.stdout.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, key, value] = /^(\w+\{.*\}) (\S+)$/.exec(line) as RegExpExecArray;
      return [key as string, Number(value)];
    }),
  );
}

describeKvm("top, query-stats and metrics agree with what the guest did", () => {
  it.each([
    ["randread", "read", "write"],
    ["seqwrite", "write", "read"],
  ] as const)("itself (%s)", async (mode, used, unused) => {
    const [qmp, exported, output] = [scratch.at(`${mode}.qmp`), scratch.at(`${mode}.metrics`), scratch.at(mode)];
    const disk = scratch.write("disk.img", new Uint8Array(8 << 20));
    const vm = baton([
      ...["-name", "bench", "-m", "64", "-machine", "microvm,auto-kernel-cmdline=on", "-no-shutdown"],
      ...["-kernel", guestPath("blkbench"), "-append", `mode=${mode} depth=8 block=8192 ops=3000 warmup=100`],
      ...[
        "-drive",
        `id=image,file=${disk}`,
        "-device",
        "virtio-blk-device,drive=image,id=disk",
        "-serial",
        `file:${output}`,
      ],
      ...["-qmp", `unix:${qmp},server,nowait`, "-metrics", `unix:${exported}`],
    ]);
    await until(() => existsSync(exported), "the sockets");
    const client = await TestClient.connect(qmp);
    await client.take(1);
    await client.execute("qmp_capabilities");
    await until(async () => (await client.execute("query-status")).return.status === "shutdown", "the guest's end");
    const guest = parseBlkbench(readFileSync(output, "latin1"));
    expect(guest).toMatchObject({ mode, errors: 0, ops: 3000, bytes: 3000 * 8192 });

    const asked = async (target: string) => {
      const answer = await client.execute("query-stats", { target });
      const [{ stats }] = answer.return as [{ stats: { name: string; value: number }[] }];
      return Object.fromEntries(stats.map(({ name, value }) => [name, value]));
    };
    const [vcpu, blk, whole] = [await asked("vcpu"), await asked("disk"), await asked("vm")];
    const [top] = JSON.parse(await said("top", "--once", "--json"));
    const samples = await metrics(exported);
    const metric = (name: string, labels: string) => samples.get(`baton_${name}{vm="bench",${labels}}`);

    // What the guest counted: requests and bytes with those before the measured part, and bytes on its serial port.
    const counted = { operations: 3100, bytes: 3100 * 8192, outs: readFileSync(output).length + 1 };
    expect(blk).toMatchObject({
      [`${used}-operations`]: counted.operations,
      [`${used}-bytes`]: counted.bytes,
      [`${unused}-operations`]: 0,
      [`${unused}-bytes`]: 0,
      [`failed-${used}-operations`]: 0,
    });
    expect(metric("disk_operations_total", `device="disk",operation="${used}"`)).toBe(counted.operations);
    expect(metric("disk_bytes_total", `device="disk",operation="${used}"`)).toBe(counted.bytes);
    // Every byte of output is an exit, and so is the write that ended the guest; doorbells and interrupts are none.
    expect(vcpu["io-out-exits"]).toBe(counted.outs);
    expect(metric("vcpu_exits_total", 'vcpu="0",reason="io-out"')).toBe(counted.outs);
    const accesses = (vcpu["mmio-read-exits"] as number) + (vcpu["mmio-write-exits"] as number);
    expect(accesses).toBe(vcpu["forwarded-exits"]);
    expect(accesses).toBeGreaterThan(0);
    expect(accesses).toBeLessThan(200);
    // And all say the same, the VM standing still.
    expect(top).toMatchObject({ name: "bench", pid: vm.pid, state: "shutdown" });
    expect(top.statistics.disk).toEqual([{ id: "disk", values: blk }]);
    expect(top.statistics.vcpu).toMatchObject([{ id: "0", values: { ...vcpu, "vmm-time": expect.any(Number) } }]);
    expect(top.statistics.vm[0].values).toMatchObject({ running: 0, "memory-size": 64 * 2 ** 20 });
    expect(whole["resident-size"]).toBeGreaterThan(16 * 2 ** 20);
    expect(metric("vcpu_time_seconds_total", 'vcpu="0",mode="guest"')).toBe((vcpu["guest-time"] as number) / 1e9);
    expect(samples.get('baton_vm_running{vm="bench"}')).toBe(0);
    client.send({ execute: "quit" });
    expect(await vm.ended(END_TIMEOUT_MS)).toBe(0);
    expect(existsSync(exported)).toBe(false);
  });
});

describeKvm("VMs with names", () => {
  it("are listed, keep their name from a second, are stopped, and leave nothing", async () => {
    const vm = await vmNamed("web", [...tickerGuest, "-smp", "2", "-serial", "null"]);
    const [head, row] = (await said("ps")).trimEnd().split("\n");
    expect(head).toMatch(/^NAME +PID +STATE +VCPUS +MEMORY +UP$/);
    expect(row).toMatch(new RegExp(`^web +${vm.pid} +running +2 +96 MiB +\\d+s$`));
    const taken = `A VM named 'web' runs already, as process ${vm.pid}`;
    const attachable = baton([...tickerGuest, "-name", "web", "-serial", "console"]);
    expect([await attachable.ended(), attachable.stderr]).toEqual([1, expect.stringContaining(taken)]);
    const second = baton(["-m", "32", "-kernel", guestPath("hello"), "-name", "web"]);
    expect([await second.ended(END_TIMEOUT_MS), second.stderr]).toEqual([
      33,
      expect.stringContaining(`The VM will not be found by its name: ${taken}`),
    ]);
    const [, ...rows] = (await said("ps")).trimEnd().split("\n");
    expect(rows).toEqual([expect.stringMatching(new RegExp(`^web +${vm.pid} `))]);
    // The guest knows no power button.
    expect(await said("stop", "web", "--timeout", "0.2")).toBe("web: did not shut down within 0.2 s, and was ended\n");
    expect(await vm.ended(END_TIMEOUT_MS)).toBe(0);
    expect(readdirSync(join(runtimeDirectory, "baton"))).toEqual([".lock"]);
    const late = baton(["stop", "web"]);
    expect([await late.ended(), late.stderr]).toEqual([1, expect.stringContaining("No VM named 'web' runs")]);
  });

  it("that were killed are forgotten, and their names are free", async () => {
    const killed = await vmNamed("web");
    killed.child.kill("SIGKILL");
    await killed.ended();
    expect(existsSync(socketOf("web", "qmp.sock"))).toBe(true);
    expect(JSON.parse(await said("ps", "--json"))).toEqual([]);
    expect(existsSync(socketOf("web", ""))).toBe(false);
    const next = await vmNamed("web");
    expect(await said("stop", "web", "--timeout", "0")).toBe("web: was ended\n");
    expect(await next.ended(END_TIMEOUT_MS)).toBe(0);
  });

  it("that end by themselves while they are stopped have shut down", async () => {
    const vm = baton(["-m", "32", "-kernel", guestPath("hello"), "-append", "primes=4000000", "-name", "web", "-S"]);
    await until(async () => /prelaunch/.test(await said("ps")), "the VM");
    const stop = baton(["stop", "web", "--timeout", "20"]);
    const client = await until(() => TestClient.connect(socketOf("web", "qmp.sock")).catch(() => null), "QMP");
    await client.take(1);
    await client.execute("qmp_capabilities");
    await client.execute("cont");
    client.destroy();
    expect([await stop.ended(), stop.stdout]).toEqual([0, "web: has shut down\n"]);
    expect(await vm.ended()).toBe(33);
  });

  it.each([
    [["ps", "x"], /'x' is too much; usage: baton ps/],
    [["stop"], /A name is missing; usage: baton stop NAME/],
    [["stop", "a", "--timeout", "soon"], /--timeout soon is no number of seconds/],
    [["top", "--twice"], /Unknown option '--twice'/],
    [["top"], /no terminal; baton top --once prints one sample/],
    [["console", "../x"], /'..\/x' is no name for a VM/],
    [[...tickerGuest, "-serial", "console", "-name", "a b"], /'a b' is no name for a VM/],
    [[...tickerGuest, "-serial", "console"], /-serial: console needs a -name/],
  ])("%j is refused", async (args, message) => {
    const program = baton(args);
    expect([await program.ended(), program.stderr]).toEqual([1, expect.stringMatching(message)]);
  });
});

describeKvm("on a terminal", () => {
  /** A terminal in which `baton` runs with these arguments; it must be put back at the end. */
  async function onTerminal(args: readonly string[], work: (terminal: TerminalWindow) => Promise<void>) {
    const terminal = new TerminalWindow();
    terminal.resize(24, 120);
    const before = terminal.settings;
    const program = terminal.run(args);
    await work(terminal);
    expect(await terminal.ended(program, END_TIMEOUT_MS)).toBe(0);
    expect(terminal.settings.equals(before)).toBe(true);
    terminal.close();
  }

  it("the console is attached to several times, one after the other, and Ctrl-] leaves it", async () => {
    await vmNamed("web", [...tickerGuest, "-serial", "console"]);
    for (let i = 0; i < 3; i++) {
      await onTerminal(["console", "web"], async (terminal) => {
        await terminal.shows(/Connected to 'web'; Ctrl-\] leaves[\s\S]*\.{3}/);
        expect(terminal.isRaw).toBe(true);
        if (i === 0) {
          const second = baton(["console", "web"]);
          expect([await second.ended(), second.stderr]).toEqual([1, expect.stringContaining("can be one at a time")]);
        }
        terminal.type("\u001d");
      });
    }
    await said("stop", "web", "--timeout", "0");
  });

  it("the console ends with the VM, and there is none without -serial", async () => {
    await vmNamed("web", [...tickerGuest, "-serial", "console"]);
    await onTerminal(["console", "web"], async (terminal) => {
      await terminal.shows(/\.{3}/);
      await said("stop", "web", "--timeout", "0");
    });
    await vmNamed("mute");
    const refused = baton(["console", "mute"]);
    expect([await refused.ended(), refused.stderr]).toEqual([
      1,
      expect.stringContaining("Start it with -serial console"),
    ]);
    await said("stop", "mute", "--timeout", "0");
  });

  it.each([
    ["q", "q"],
    ["Ctrl-C", "\u0003"],
  ])("top refreshes what it shows, until %s", async (_, key) => {
    await vmNamed("web", [...tickerGuest, "-serial", "null"]);
    await onTerminal(["top", "--interval", "0.1"], async (terminal) => {
      await terminal.shows(
        /baton top: 1 VM,[\s\S]*NAME +STATE +GUEST%[\s\S]*web +running +\d+\.\d[\s\S]*exits\/s: io-out \d/,
      );
      await said("stop", "web", "--timeout", "0");
      await terminal.shows(/baton top: 0 VMs/);
      terminal.type(key);
    });
  });
});
