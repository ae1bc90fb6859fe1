/**
 * Inside the testbed: a Linux guest with 4 vCPUs, a disk, a network card and its console goes from one `baton` to another
 * by `migrate`, through a file, a UNIX socket and TCP.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ip } from "./ip.mjs";
import { done, tell, test } from "./tap.mjs";

const BATON = "node_modules/@baton/reference-vmm/dist/baton.js";
const MIB = 192;
const STEP_MS = 180_000;
const CMDLINE = "console=ttyS0 reboot=t panic=-1 quiet net.ifnames=0 rcupdate.rcu_cpu_stall_timeout=300";
const WORDS = "baton.modules=virtio_mmio,virtio_blk,virtio_net baton.test=script";

/** A `baton` with the guest, or awaiting it; each has a tap of its own on the bridge. */
class Machine {
  output = "";
  #wake = new Set();
  #messages = [];

  constructor(index, options = []) {
    this.index = index;
    ip("tuntap", "add", "dev", `tap${index}`, "mode", "tap");
    ip("link", "set", `tap${index}`, "master", "br0", "up");
    const args = [
      ...["-kernel", "bzImage", "-initrd", "initrd", "-append", `${CMDLINE} ${WORDS}`, "-m", String(MIB), "-smp", "4"],
      ...["-drive", "file=disk.img,id=d,format=raw,if=none", "-device", "virtio-blk-device,drive=d"],
      ...["-netdev", `tap,id=n,ifname=tap${index},script=no`, "-device", "virtio-net-device,netdev=n"],
      ...["-serial", "stdio", "-qmp", `unix:/tmp/qmp${index},server,nowait`],
    ];
    this.child = spawn(process.execPath, [BATON, ...args, ...options], { stdio: ["ignore", "pipe", "inherit"] });
    this.ended = once(this.child, "exit");
    this.child.stdout.setEncoding("latin1").on("data", (text) => {
      this.output += text;
      this.#look();
    });
  }

  #look() {
    for (const wake of this.#wake) wake();
  }

  until(condition, what) {
    return new Promise((resolve, reject) => {
      const finish = (end) => {
        clearTimeout(timer);
        this.#wake.delete(look);
        end();
      };
      const late = () => reject(new Error(`${what} did not come; console: ${this.output.slice(-600)}`));
      const timer = setTimeout(() => finish(late), STEP_MS);
      const look = () => {
        const found = condition();
        if (found) finish(() => resolve(found));
      };
      this.#wake.add(look);
      look();
    });
  }

  async connect() {
    for (;;) {
      assert.equal(this.child.exitCode, null, "baton has ended");
      const socket = connect(`/tmp/qmp${this.index}`);
      if ((await once(socket, "connect").catch(() => null)) !== null) {
        this.socket = socket;
        break;
      }
      await delay(50);
    }
    let rest = "";
    this.socket.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\r\n");
      rest = lines.pop();
      this.#messages.push(...lines.map((line) => JSON.parse(line)).filter((message) => !("event" in message)));
      this.#look();
    });
    await this.until(() => this.#messages.length > 0, "the greeting");
    await this.call("qmp_capabilities");
    return this;
  }

  async call(execute, args) {
    const before = this.#messages.length;
    this.socket.write(JSON.stringify({ execute, ...(args && { arguments: args }) }));
    await this.until(() => this.#messages.length > before, `the answer to ${execute}`);
    const { return: result, error } = this.#messages[before];
    if (error !== undefined) throw new Error(`${execute}: ${error.desc}`);
    return result;
  }

  async migrated() {
    for (;;) {
      const info = await this.call("query-migrate");
      if (["completed", "failed", "cancelled"].includes(info.status)) return info;
      await delay(100);
    }
  }

  steps() {
    return [...this.output.matchAll(/STEP (\d+) up=(\d+) time=(\d+)\r?\n/g)].map(([, ...numbers]) =>
      numbers.map(Number),
    );
  }

  /** What all of the guest's memory is. */
  async memory() {
    const path = `/tmp/memory${this.index}`;
    await this.call("pmemsave", { val: 0, size: MIB * 2 ** 20, filename: path });
    const bytes = readFileSync(path);
    rmSync(path);
    return bytes;
  }

  async quit() {
    await this.call("quit");
    await this.ended;
  }
}

/** The places of memory that differ, the first of each page. */
function differences(before, after) {
  const found = [];
  for (let page = 0; page < before.length; page += 4096) {
    const [a, b] = [before.subarray(page, page + 4096), after.subarray(page, page + 4096)];
    if (a.equals(b)) continue;
    const at = a.findIndex((byte, i) => byte !== b[i]);
    const end = 4096 - [...a].reverse().findIndex((byte, i) => byte !== b[4095 - i]);
    found.push(
      `0x${(page + at).toString(16)}: ${a.subarray(at, Math.min(end, at + 32)).toString("hex")} is ${b.subarray(at, Math.min(end, at + 32)).toString("hex")}`,
    );
  }
  return found;
}

ip("link", "add", "br0", "type", "bridge");
ip("addr", "add", "10.0.0.1/24", "dev", "br0");
ip("link", "set", "br0", "up");

let guest = new Machine(0);
await test("a Linux guest with 4 vCPUs uses its disk, its card and its clocks", async () => {
  await guest.connect();
  await guest.until(() => guest.steps().length >= 3, "the guest's steps");
  assert.match(guest.output, /BATON cpus=4|STEP/);
  tell("booted");
});

const machines = [guest];
const ways = [
  { name: "a file", to: () => "file:/tmp/guest,offset=4096", from: () => "file:/tmp/guest,offset=4096", late: true },
  { name: "a UNIX socket", to: () => "unix:/tmp/move", from: () => "unix:/tmp/move" },
  { name: "TCP", to: (port) => `tcp:127.0.0.1:${port}`, from: () => "tcp:127.0.0.1:0" },
].slice(0, Number(process.env.WAYS));
for (const [index, { name, to, from, late }] of ways.entries()) {
  await test(`it goes on in another process, through ${name}`, async () => {
    const await_ = () => new Machine(index + 1, ["-S", "-incoming", from()]).connect();
    let target = late ? undefined : await await_();
    const port = (await target?.call("query-migrate"))?.["socket-address"]?.[0]?.port;
    await guest.call("migrate", { uri: to(port) });
    const info = await guest.migrated();
    assert.equal(info.status, "completed", JSON.stringify(info));
    assert.equal((await guest.call("query-status")).status, "postmigrate");
    target ??= await await_();
    assert.deepEqual(await target.migrated(), { status: "completed" });
    assert.equal((await target.call("query-status")).status, "paused");
    assert.deepEqual(differences(await guest.memory(), await target.memory()), []);
    await target.call("cont");
    await assert.rejects(guest.call("cont"), /in use by another virtual machine/);
    await target.until(() => target.steps().length >= 3, "the guest's steps after the move");
    tell(
      `moved through ${name}: ${info.ram.transferred} bytes in ${info["total-time"]} ms, the guest stood ${info.downtime} ms`,
    );
    await guest.quit();
    guest = target;
    machines.push(guest);
    assert.doesNotMatch(guest.output, /BAD|soft lockup|BUG:|Oops/);
  });
}

await test("its clocks never stepped back, and its steps are whole", async () => {
  const steps = machines.flatMap((machine) => machine.steps());
  assert.ok(steps.length >= 3 * machines.length, `${steps.length} steps`);
  for (let i = 1; i < steps.length; i++) {
    const [before, after] = [steps[i - 1], steps[i]];
    // A line that one process began and another ended is in neither output.
    assert.ok(after[0] > before[0] && after[0] <= before[0] + 2, `step ${after[0]} after ${before[0]}`);
    assert.ok(after[1] >= before[1] && after[2] >= before[2], `clocks ${before} and ${after}`);
  }
  await guest.quit();
});
done();
