import { existsSync, readFileSync } from "node:fs";
import { guestPath } from "@baton/guests";
import { afterAll, afterEach, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { TestClient } from "../src/surface/qmp/testing/client.js";
import { baton, END_TIMEOUT_MS, helloGuest, killPrograms, Scratch, tickerGuest } from "./support/baton.js";
import { pvhProgram } from "./support/machine-code.js";
import { until } from "./support/until.js";

const scratch = new Scratch();
afterEach(killPrograms);
afterAll(() => scratch.remove());

/** `mov dx, port; mov al, value; out dx, al; jmp $`. */
const writePort = (port: number, value: number) =>
  pvhProgram([0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee, 0xeb, 0xfe]);
const kernel = (name: string, image: Uint8Array) => ["-m", "16", "-kernel", scratch.write(name, image)];

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describeKvm("baton's streams and exit codes", () => {
  it("writes the guest's output, and nothing else, on standard output", async () => {
    const run = baton([...helloGuest, "-serial", "stdio"]);
    expect(await run.ended()).toBe(33);
    expect(run.stdout).toMatch(/^\s+Hello from a guest of Baton[\s\S]*Goodbye\.\n*$/);
    expect(run.stderr).toBe("");
  });

  it("gives the guest's last words although the reader is slow", async () => {
    const run = baton([...helloGuest, "-serial", "stdio"]);
    run.child.stdout?.pause();
    const resume = setTimeout(() => run.child.stdout?.resume(), 1000);
    await run.ended();
    clearTimeout(resume);
    expect(run.stdout).toContain("Goodbye");
  });

  it.each([
    [0, 1],
    [0x10, 33],
    [0x7f, 255],
  ])("turns a write of %i to the debug exit port into exit code %i", async (value, code) => {
    expect(await baton(kernel(`exit-${value}`, writePort(0xf4, value))).ended()).toBe(code);
  });

  it("ends with 2 after a panic", async () => {
    expect(await baton(kernel("panic", writePort(0x505, 1))).ended()).toBe(2);
  });

  it("ends with 3 and says once why when the guest cannot go on", async () => {
    // A jump to where there is no memory.
    const run = baton(kernel("lost", pvhProgram([0xb8, 0, 0, 0, 0x70, 0xff, 0xe0])));
    expect(await run.ended()).toBe(3);
    expect(run.stdout).toBe("");
    expect(run.stderr.trimEnd().split("\n")).toEqual([expect.stringMatching(/^baton: The guest cannot go on: KVM/)]);
  });

  it("ends with 0 when the guest asks for a reset and -no-reboot is given", async () => {
    expect(await baton([...kernel("reset", writePort(0x64, 0xfe)), "-no-reboot"]).ended()).toBe(0);
  });

  it("writes what its streams consist of into a file, without a machine", async () => {
    const path = scratch.at("schema.json");
    const run = baton(["-dump-vmstate", path]);
    expect(await run.ended()).toBe(0);
    const committed = new URL("../etc/vmstate-schema.json", import.meta.url);
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(JSON.parse(readFileSync(committed, "utf8")));
  });

  it("prints help and version", async () => {
    const help = baton(["-help"]);
    expect(await help.ended()).toBe(0);
    expect(help.stdout).toMatch(/usage: baton[\s\S]*-kernel FILE[\s\S]*-serial/);
    const version = baton(["--version"]);
    expect(await version.ended()).toBe(0);
    expect(version.stdout).toMatch(/^baton \d+\.\d+\.\d+\n$/);
  });

  it("survives a reader that goes away before it has printed", async () => {
    const help = baton(["-help"]);
    help.child.stdout?.destroy();
    expect(await help.ended()).toBe(0);
    expect(help.stderr).toBe("");
  });
});

describeKvm("baton ends at once", () => {
  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("on %s, with 0, and leaves nothing behind", async (signal) => {
    const [qmp, console, pidfile] = [scratch.at("q.sock"), scratch.at("c.sock"), scratch.at("pid")];
    const run = baton([
      ...tickerGuest,
      ...["-qmp", `unix:${qmp},server,nowait`, "-serial", `unix:${console},server,nowait`, "-pidfile", pidfile],
    ]);
    await until(() => existsSync(qmp) && existsSync(console), "the sockets");
    expect(Number(readFileSync(pidfile, "utf8"))).toBe(run.pid);
    expect(await run.endedBy(signal)).toBe(0);
    expect([qmp, console, pidfile].filter(existsSync)).toEqual([]);
    expect(run.stderr).toBe("");
  });

  it("on SIGTERM while it waits for a QMP client, with nothing left behind", async () => {
    const qmp = scratch.at("wait.sock");
    const run = baton([...tickerGuest, "-qmp", `unix:${qmp},server`, "-serial", "stdio"]);
    await until(() => existsSync(qmp), "the socket");
    expect(await run.endedBy("SIGTERM")).toBe(0);
    expect(existsSync(qmp)).toBe(false);
    expect(run.stdout).toBe("");
  });

  it("on SIGTERM while it is being set up", async () => {
    const pidfile = scratch.at("early.pid");
    const run = baton([...tickerGuest.slice(2), "-m", "2G", "-mem-prealloc", "-pidfile", pidfile]);
    await until(() => existsSync(pidfile), "the pid file");
    expect([0, 1]).toContain(await run.endedBy("SIGTERM"));
    expect(existsSync(pidfile)).toBe(false);
    expect(run.stderr).toMatch(/^(baton: error: Interrupted before the VM was set up\n)?$/);
  });

  it("on SIGTERM although nobody reads its standard output", async () => {
    // The reader never reads: the pipe is full, and so is the serial port's ring.
    const flood = pvhProgram([0x66, 0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee, 0xeb, 0xfd]);
    const run = baton([...kernel("flood", flood), "-serial", "stdio"]);
    await run.sees(/\./);
    run.child.stdout?.pause();
    let before = -1;
    await until(() => {
      const now = run.child.stdout?.readableLength ?? 0;
      const full = now > 0 && now === before;
      before = now;
      return full;
    }, "a full pipe");
    run.child.kill("SIGTERM");
    const deadline = performance.now() + END_TIMEOUT_MS;
    await until(() => !alive(run.pid) || run.child.exitCode !== null || performance.now() > deadline, "the end");
    expect(run.child.exitCode).toBe(0);
  });

  it("when its own code crashes, with 3 and nothing left behind", async () => {
    const [qmp, pidfile] = [scratch.at("crash.sock"), scratch.at("crash.pid")];
    const code = scratch.write("crash.mjs", 'process.on("SIGUSR2", () => { throw new Error("a bug"); });');
    const run = baton([...tickerGuest, "-qmp", `unix:${qmp},server,nowait`, "-serial", "stdio", "-pidfile", pidfile], {
      env: { ...process.env, NODE_OPTIONS: `--import ${code}` },
    });
    await run.sees(/\.\./);
    expect(await run.endedBy("SIGUSR2")).toBe(3);
    expect([qmp, pidfile].filter(existsSync)).toEqual([]);
    expect(run.stderr).toMatch(/a bug[\s\S]*crash\.mjs/);
  });
});

describeKvm("baton -daemonize", () => {
  afterEach(() => {
    for (const name of ["d.pid", "short.pid"]) {
      if (existsSync(scratch.at(name))) process.kill(Number(readFileSync(scratch.at(name), "utf8")), "SIGKILL");
    }
  });

  it("returns when the VM is set up, lets go of the terminal, and ends on SIGTERM", async () => {
    const [pidfile, qmp, log] = [scratch.at("d.pid"), scratch.at("d.sock"), scratch.at("d.log")];
    const run = baton([
      ...[...tickerGuest, "-daemonize", "-pidfile", pidfile, "-qmp", `unix:${qmp},server,nowait`, "-D", log],
    ]);
    // `ended` waits until nobody holds standard output and standard error any more.
    expect(await run.ended()).toBe(0);
    expect(run.stderr).toBe("");
    const pid = Number(readFileSync(pidfile, "utf8"));
    expect(existsSync(qmp)).toBe(true);
    expect(pid).not.toBe(run.pid);
    expect(alive(pid)).toBe(true);
    await until(() => readFileSync(log, "utf8").includes("prelaunch -> running"), "the guest's start in the log");
    process.kill(pid, "SIGTERM");
    await until(() => !alive(pid), "the end of the daemon", END_TIMEOUT_MS);
    expect([pidfile, qmp].filter(existsSync)).toEqual([]);
    expect(readFileSync(log, "utf8")).toMatch(/^\d{4}-\d\d-\d\dT.*\[\d+\] INFO: run state: running -> shutdown$/m);
  });

  it("tells of a VM that cannot be set up: 1, the message, nothing left behind", async () => {
    const pidfile = scratch.at("failing.pid");
    const run = baton(["-kernel", "/nowhere", "-daemonize", "-pidfile", pidfile]);
    expect(await run.ended()).toBe(1);
    expect(run.stderr).toMatch(/^baton: error: Cannot read kernel \/nowhere: ENOENT.*\n$/);
    expect(existsSync(pidfile)).toBe(false);
  });

  it("ends by itself with its guest", async () => {
    const pidfile = scratch.at("short.pid");
    const run = baton([...helloGuest, "-S", "-daemonize", "-pidfile", pidfile]);
    expect(await run.ended()).toBe(0);
    const pid = Number(readFileSync(pidfile, "utf8"));
    process.kill(pid, "SIGTERM");
    await until(() => !alive(pid) && !existsSync(pidfile), "the end of the daemon", END_TIMEOUT_MS);
  });
});

describeKvm("baton -D", () => {
  it("writes the log to the file and keeps standard error clean", async () => {
    const log = scratch.at("run.log");
    const run = baton([...helloGuest, "-serial", "stdio", "-D", log]);
    expect(await run.ended()).toBe(33);
    expect(run.stderr).toBe("");
    expect(readFileSync(log, "utf8")).toMatch(/INFO: run state: prelaunch -> running\n.*running -> shutdown\n/);
  });

  it("logs why the guest could not go on", async () => {
    const log = scratch.at("error.log");
    const run = baton([...kernel("lost2", pvhProgram([0xb8, 0, 0, 0, 0x70, 0xff, 0xe0])), "-D", log]);
    expect(await run.ended()).toBe(3);
    expect(readFileSync(log, "utf8")).toMatch(/ERROR: The guest cannot go on/);
  });
});

describeKvm("baton -S", () => {
  it("does not start the guest", async () => {
    const qmp = scratch.at("paused.sock");
    const run = baton([
      ...["-S", "-m", "32", "-kernel", guestPath("hello"), "-serial", "stdio", "-qmp", `unix:${qmp},server,nowait`],
    ]);
    await until(() => existsSync(qmp), "the socket");
    const client = await TestClient.connect(qmp);
    expect(await client.next()).toHaveProperty("QMP");
    expect(await client.execute("query-status")).toMatchObject({ return: { status: "prelaunch", running: false } });
    expect(run.stdout).toBe("");
    await client.execute("cont");
    expect(await run.ended()).toBe(33);
    client.destroy();
  });
});
