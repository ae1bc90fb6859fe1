/**
 * Inside the testbed: two Linux guests on the bridge and taps of docs/devices/net.md. The packets of one pass this
 * process, vhost-net moves those of the other; a file goes there and back, and each guest moves to another VM while
 * it receives.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { virtioNet } from "@baton/devices-virtio";
import { RamBlock } from "@baton/memory";
import { LinuxVm } from "./linux-vm.mjs";
import { done, tell, test } from "./tap.mjs";

const megabytes = Number(process.env.MEGABYTES);
/** The guest keeps what it sends and what it gets. */
const SIZE_MIB = 128 + 2 * megabytes;
const STEP_MS = 120_000 + 20_000 * megabytes;

// Busybox prefers its own `ip`, which makes no taps.
const shell = (commands) =>
  execFileSync("sh", ["-ec", `ip() { /usr/sbin/ip "$@"; }\n${commands}`], { stdio: ["ignore", "ignore", "inherit"] });

/** The bridge of each tap. */
const bridges = () => [0, 1].map((index) => basename(readlinkSync(`/sys/class/net/tap${index}/master`)));

class Guest {
  constructor(index, vhost) {
    const words = [
      "baton.modules=virtio_mmio,virtio_net baton.test=script baton.then=wait",
      `net.ip=10.0.0.${index + 1} net.peer=10.0.0.${2 - index} net.role=${index} net.mb=${megabytes}`,
    ];
    const card = virtioNet({ id: "net0", backend: { kind: "tap", name: `tap${index}` }, vhost });
    const block = RamBlock.create({ id: "pc.ram", size: BigInt(SIZE_MIB) << 20n, backend: { kind: "memfd" } });
    this.linux = new LinuxVm({ sizeMiB: SIZE_MIB, words: words.join(" "), devices: [card], block });
  }

  get #card() {
    return this.linux.vm.machine.virtio.devices[0];
  }

  command(name, args = {}) {
    return this.#card.command(name, args);
  }

  says(text) {
    return this.linux.until(() => this.linux.output.includes(text), text, STEP_MS);
  }

  /** What the guest said after a word. */
  async value(word) {
    await this.says(`${word} `);
    await this.linux.until(() => new RegExp(`${word} \\S+\\s`).test(this.linux.output), word, STEP_MS);
    return new RegExp(`${word} (\\S+)\\s`).exec(this.linux.output)[1];
  }

  /** Into another VM, with its address, its connections and its tap. */
  async move() {
    const { vm } = this.linux;
    await vm.pause();
    const state = await vm.saveState();
    await vm.close();
    await this.linux.create({ state });
    await this.linux.vm.resume();
  }
}

await test("brctl and tunctl make the network that ip makes", async () => {
  shell(process.env.NETWORK_BRCTL);
  assert.deepEqual(bridges(), ["qbr0", "qbr0"]);
  shell("ifconfig qbr0 down; brctl delbr qbr0; tunctl -d tap0; tunctl -d tap1");
  shell(process.env.NETWORK_IP);
  assert.deepEqual(bridges(), ["qbr0", "qbr0"]);
});

const kernel = new Guest(0, true);
const user = new Guest(1, false);

await test("two guests ping each other, one of them with vhost-net", async () => {
  for (const guest of [kernel, user]) await guest.linux.create();
  for (const guest of [kernel, user]) await guest.linux.vm.start();
  await user.says("NET PINGED");
  tell("pinged");
});

await test(`${megabytes} MB reach the guest with vhost-net, which moves meanwhile`, async () => {
  await user.says("NET SENDING");
  await kernel.move();
  assert.equal(await kernel.value("NET GOT"), await user.value("NET HAS"));
  tell("there");
});

await test(`${megabytes} MB reach the guest with packets through this process, which moves meanwhile`, async () => {
  await kernel.says("NET SENDING");
  await user.move();
  assert.equal(await user.value("NET GOT"), await user.value("NET HAS"));
  tell(`back; ${JSON.stringify(await user.command("statistics"))}`);
});

await test("a guest sees that its cable is out, and in again", async () => {
  for (const guest of [kernel, user]) await guest.command("set-link", { up: false });
  for (const guest of [kernel, user]) await guest.says("NET CARRIER 0");
  for (const guest of [kernel, user]) await guest.command("set-link", { up: true });
  for (const guest of [kernel, user]) await guest.says("NET PINGED AGAIN");
  assert.deepEqual([(await kernel.command("info")).vhost, (await user.command("info")).vhost], [true, false]);
  tell("in again");
});

for (const { linux } of [kernel, user]) await linux.vm?.close();
done();
