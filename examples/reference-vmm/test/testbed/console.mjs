/** Inside the testbed: a Linux guest with an agent on a virtio serial port and an echo on its virtio console. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { virtioConsole } from "@baton/devices-virtio";
import { LinuxVm } from "./linux-vm.mjs";
import { done, test } from "./tap.mjs";

const BATON = "node_modules/@baton/reference-vmm/dist/baton.js";
const WORDS = "baton.modules=virtio_mmio,virtio_console baton.test=script baton.then=poweroff";
const AGENT = "org.qemu.guest_agent.0";

/** Whoever is at the other side of a socket. */
class Peer {
  text = "";
  closed = false;

  static async to(path) {
    while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 50));
    return new Peer(path);
  }

  constructor(path) {
    this.socket = connect(path);
    this.socket.setEncoding("latin1").on("data", (text) => (this.text += text));
    this.socket.on("close", () => (this.closed = true));
    this.socket.on("error", () => {});
  }

  async sees(pattern, timeoutMs = 150_000) {
    for (const end = Date.now() + timeoutMs; !pattern.test(this.text); ) {
      if (Date.now() > end) throw new Error(`${pattern} did not come: ${this.text.slice(-300)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const { text } = this;
    this.text = "";
    return text;
  }

  async asks(request, pattern) {
    this.socket.write(`${JSON.stringify(request)}\n`);
    return this.sees(pattern);
  }

  async ends() {
    this.socket.destroy();
    while (!this.closed) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const PING = { execute: "guest-ping" };
const PONG = /\{"return": \{\}\}\n/;

/** The guest's stream: lines of 64 bytes, numbered. */
function checkStream(text, lines) {
  const found = text.match(/^\d{63}\n/gm) ?? [];
  assert.equal(found.length, lines);
  for (const [i, line] of found.entries()) assert.equal(Number(line), i);
}

await test("an agent answers on its port, its openings are events, the console echoes and knows its size", async () => {
  const [agentPath, consolePath] = ["/tmp/agent", "/tmp/hvc"];
  const guest = new LinuxVm({
    words: WORDS,
    devices: [
      virtioConsole({
        id: "serial",
        ports: [
          { id: "hvc", console: true, backend: { kind: "unix", path: consolePath } },
          { id: "agent", console: false, name: AGENT, backend: { kind: "unix", path: agentPath } },
        ],
      }),
    ],
  });
  await guest.create();
  const changes = () =>
    guest.events.filter(({ type }) => type === "port-changed").map(({ port, open }) => `${port} ${open}`);
  const device = guest.vm.machine.virtio.find("serial");
  try {
    const early = await Peer.to(agentPath);
    await device.command("resize", { columns: 100, rows: 31 });
    await guest.vm.start();
    await early.asks(PING, PONG);
    assert.deepEqual(
      (await device.command("ports")).map(({ id, open, connected }) => ({ id, open, connected })),
      [
        { id: "hvc", open: true, connected: false },
        { id: "agent", open: true, connected: true },
      ],
    );
    assert.deepEqual(changes(), ["hvc true", "agent true"]);
    await early.ends();
    for (let i = 0; i < 3; i++) {
      const peer = await Peer.to(agentPath);
      await peer.asks(PING, PONG);
      await peer.ends();
    }

    const terminal = await Peer.to(consolePath);
    terminal.socket.write("hello\n");
    await terminal.sees(/echo: hello/);
    terminal.socket.write("size\n");
    await terminal.sees(/31 100/);
    await device.command("resize", { columns: 132, rows: 50 });
    terminal.socket.write("size\n");
    await terminal.sees(/50 132/);

    // A reader that stops for a while holds the guest and loses nothing.
    const reader = await Peer.to(agentPath);
    reader.socket.pause();
    reader.socket.write('{"execute": "guest-stream"}\n');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    reader.socket.resume();
    checkStream(await reader.sees(/END\n/), 8192);
    // And as much the other way.
    const bytes = Buffer.alloc(300_000, "0123456789abcdef\n");
    reader.socket.write(`{"execute": "guest-sum", "bytes": ${bytes.length}}\n`);
    await reader.sees(/GO\n/);
    reader.socket.write(bytes);
    const { createHash } = await import("node:crypto");
    assert.match(await reader.sees(/SUM \w+/), new RegExp(createHash("md5").update(bytes).digest("hex")));

    await reader.asks({ execute: "guest-reopen" }, /OPEN AGAIN/);
    assert.deepEqual(changes(), ["hvc true", "agent true", "agent false", "agent true"]);
    reader.socket.write('{"execute": "guest-shutdown"}\n');
    const outcome = await guest.vm.wait({ signal: AbortSignal.timeout(30_000) });
    assert.deepEqual(outcome, { reason: "shutdown", cause: "guest-shutdown" });
    await reader.ends();
    await terminal.ends();
  } catch (error) {
    console.log(`# ${guest.output.slice(-1000).replaceAll("\n", "\n# ")}`);
    throw error;
  } finally {
    await guest.vm.close();
  }
  assert.ok(!existsSync(agentPath) && !existsSync(consolePath));
});

await test("baton has the ports on stdio and a socket; QMP tells of them", async () => {
  const args = ["-kernel", "bzImage", "-initrd", "initrd", "-m", "256", "-serial", "null"];
  args.push("-append", `console=ttyS0 reboot=t panic=-1 quiet ${WORDS}`, "-qmp", "unix:/tmp/qmp,server,nowait");
  args.push("-chardev", "stdio,id=con", "-chardev", "socket,id=ga,path=/tmp/ga,server,nowait");
  args.push("-device", "virtio-serial-device,id=ser", "-device", "virtconsole,chardev=con,id=hvc");
  args.push("-device", `virtserialport,chardev=ga,name=${AGENT},id=agent`);
  const child = spawn(process.execPath, [BATON, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const agent = await Peer.to("/tmp/ga");
  const qmp = await Peer.to("/tmp/qmp");
  await qmp.asks({ execute: "qmp_capabilities" }, /"return"/);
  await agent.asks(PING, PONG);
  await qmp.sees(/"VSERPORT_CHANGE".*"id":"agent".*"open":true|"VSERPORT_CHANGE".*"open":true.*"id":"agent"/);
  const answer = JSON.parse(await qmp.asks({ execute: "query-chardev" }, /"return".*\r\n/));
  assert.deepEqual(answer.return, [
    { label: "serial0", filename: "null", "frontend-open": true },
    { label: "con", filename: "fd", "frontend-open": true },
    { label: "ga", filename: "unix:/tmp/ga,server=on", "frontend-open": true },
  ]);
  child.stdin.write("typed\n");
  for (const end = Date.now() + 20_000; !output.includes("echo: typed") && Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.match(output, /echo: typed/);
  agent.socket.write('{"execute": "guest-shutdown"}\n');
  const [code] = await ended;
  assert.equal(code, 0);
  await Promise.all([agent.ends(), qmp.ends()]);
});
done();
