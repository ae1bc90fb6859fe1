/** Inside the testbed: Linux guests under the `baton` binary, steered through QMP; each end has its event and exit code. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { done, test } from "./tap.mjs";

const BATON = "node_modules/@baton/reference-vmm/dist/baton.js";
const SOCKET = "/tmp/qmp";
const CMDLINE = "console=ttyS0 reboot=t panic=-1 quiet";

/** The binary with its console and a QMP client. */
class Binary {
  console = "";
  messages = [];
  #waiters = new Set();

  constructor(words, options = []) {
    const args = [
      "-kernel",
      "bzImage",
      "-initrd",
      "initrd",
      "-append",
      `${CMDLINE} ${words}`,
      "-m",
      "256",
      "-smp",
      "2",
    ];
    const qmp = ["-serial", "stdio", "-qmp", `unix:${SOCKET},server,nowait`];
    this.child = spawn(process.execPath, [BATON, ...args, ...qmp, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.ended = once(this.child, "exit");
    this.child.stdout.on("data", (chunk) => {
      this.console += chunk;
      for (const waiter of this.#waiters) waiter();
    });
  }

  async connect() {
    // The file is there a moment before anybody listens.
    while (this.socket === undefined) {
      const socket = connect(SOCKET);
      const come = await once(socket, "connect").catch(() => null);
      if (come === null) await new Promise((resolve) => setTimeout(resolve, 50));
      else this.socket = socket;
    }
    let buffer = "";
    this.socket.on("data", (chunk) => {
      buffer += chunk;
      const lines = buffer.split("\r\n");
      buffer = lines.pop();
      this.messages.push(...lines.map((line) => JSON.parse(line)));
      for (const waiter of this.#waiters) waiter();
    });
    this.send("qmp_capabilities");
    await this.until(() => this.messages.some((message) => "return" in message), "QMP's answer");
    return this;
  }

  send(execute) {
    this.socket.write(JSON.stringify({ execute }));
  }

  events() {
    return this.messages.filter((message) => message.event).map(({ event, data }) => ({ event, ...data }));
  }

  until(condition, what, timeoutMs = 60_000) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${what} did not come; console: ${this.console.slice(-500)}`)),
        timeoutMs,
      );
      const check = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve();
      };
      this.#waiters.add(check);
      check();
    });
  }

  async exitCode() {
    const [code] = await this.ended;
    assert.ok(!existsSync(SOCKET), "the QMP socket is left behind");
    return code;
  }
}

await test("system_powerdown through QMP powers the guest down; the exit code is 0", async () => {
  const baton = await new Binary("baton.modules=button,evdev baton.test=script").connect();
  await baton.until(() => baton.console.includes("WAITING FOR THE BUTTON"), "the guest's readiness");
  baton.send("system_powerdown");
  assert.equal(await baton.exitCode(), 0);
  const events = baton.events();
  assert.ok(events.some(({ event }) => event === "POWERDOWN"));
  assert.ok(events.some(({ event, guest, reason }) => event === "SHUTDOWN" && guest && reason === "guest-shutdown"));
});

await test("a panic is an event and, where it ends the VM, exit code 2", async () => {
  const baton = await new Binary("baton.modules=pvpanic,pvpanic_mmio baton.count=1 baton.then=panic").connect();
  assert.equal(await baton.exitCode(), 2);
  assert.ok(baton.events().some(({ event, action }) => event === "GUEST_PANICKED" && action === "poweroff"));
});

await test("a reboot is an event; with -no-reboot it ends the VM with exit code 0", async () => {
  const baton = await new Binary("baton.count=1 baton.then=reboot", ["-no-reboot"]).connect();
  assert.equal(await baton.exitCode(), 0);
  assert.ok(baton.events().some(({ event, reason }) => event === "SHUTDOWN" && reason === "guest-reset"));
});

await test("system_reset through QMP boots the guest again; quit ends it with exit code 0", async () => {
  const baton = await new Binary("baton.count=1 baton.then=wait").connect();
  const boots = () => baton.console.match(/BATON cpus=2/g)?.length ?? 0;
  await baton.until(() => boots() === 1, "the first boot");
  baton.send("system_reset");
  await baton.until(() => boots() === 2, "the second boot");
  assert.ok(baton.events().some(({ event, guest }) => event === "RESET" && !guest));
  baton.send("quit");
  assert.equal(await baton.exitCode(), 0);
});
done();
