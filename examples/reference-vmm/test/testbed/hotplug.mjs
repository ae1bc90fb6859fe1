/**
 * Inside the testbed: disks and network cards come to a Linux guest under the `baton` binary and leave it, by the
 * sessions of StratoVirt's documentation for its lightweight machine, sent through `socat`; every other time by the
 * same commands on the human monitor.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { ip } from "./ip.mjs";
import { SocatSession } from "./socat-session.mjs";
import { done, tell, test } from "./tap.mjs";

const BATON = "node_modules/@baton/reference-vmm/dist/baton.js";
const TIMES = Number(process.env.TIMES);
const STEP_MS = 120_000;
const DISK = "/dev/loop0";
const ADD_DISK = `
<- {"execute": "blockdev-add", "arguments": {"node-name": "drive-0", "file": {"driver": "file", "filename": "${DISK}"}, "cache": {"direct": true}, "read-only": false}}
-> {"return": {}}
<- {"execute": "device_add", "arguments": {"id": "drive-0", "driver": "virtio-blk-mmio", "addr": "0x1"}}
-> {"return": {}}
`;
const REMOVE_DISK = `
<- {"execute": "device_del", "arguments": {"id": "drive-0"}}
-> {"event":"DEVICE_DELETED","data":{"device":"drive-0","path":"drive-0"},"timestamp":{"seconds":1598513162,"microseconds":367129}}
-> {"return": {}}
`;
const ADD_NIC = `
<- {"execute":"netdev_add", "arguments":{"id":"net-0", "ifname":"tap0"}}
-> {"return": {}}
<- {"execute":"device_add", "arguments":{"id":"net-0", "driver":"virtio-net-mmio", "addr":"0x0"}} 
-> {"return": {}}
`;
const REMOVE_NIC = `
<- {"execute": "device_del", "arguments": {"id": "net-0"}}
-> {"event":"DEVICE_DELETED","data":{"device":"net-0","path":"net-0"},"timestamp":{"seconds":1598513339,"microseconds":97310}}
-> {"return": {}}
`;

const TYPE_DISK = [
  `drive_add dummy id=drive-0,file=${DISK},readonly=off,direct=on`,
  "device_add virtio-blk-mmio,id=drive-0,drive=drive-0,addr=0x1",
];
const TYPE_NIC = [
  "netdev_add tap,id=net-0,ifname=tap0,vhost=on",
  "device_add virtio-net-mmio,id=net-0,netdev=net-0,addr=0x0",
];

const sumOf = (bytes) => createHash("md5").update(bytes).digest("hex");
const run = (program, ...args) => execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"] }).toString();

/** The binary with a Linux guest. */
class Binary {
  output = "";
  #wake = new Set();

  constructor(path, times, options = []) {
    this.path = path;
    const append = "console=ttyS0 reboot=t panic=-1 quiet root=/dev/vda net.ifnames=0";
    const words = `baton.modules=virtio_mmio,virtio_blk,virtio_net baton.test=script plug.times=${times}`;
    const boot = ["-kernel", "bzImage", "-initrd", "initrd", "-append", `${append} ${words}`, "-m", "256"];
    const disk = [
      "-drive",
      "file=root.img,id=rootfs,readonly=off,direct=off",
      "-device",
      "virtio-blk-device,drive=rootfs",
    ];
    const ends = ["-serial", "stdio", "-qmp", `unix:${path},server,nowait`];
    ends.push("-monitor", `unix:${path}.monitor,server,nowait`);
    this.child = spawn(process.execPath, [BATON, ...boot, ...disk, ...ends, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.ended = once(this.child, "exit");
    this.child.stdout.setEncoding("latin1").on("data", (text) => {
      this.output += text;
      for (const wake of this.#wake) wake();
    });
  }

  /** What the guest says. */
  says(pattern, timeoutMs = STEP_MS) {
    return new Promise((resolve, reject) => {
      const finish = (end) => {
        clearTimeout(timer);
        this.#wake.delete(look);
        end();
      };
      const late = () => reject(new Error(`${pattern} did not come; console: ${this.output.slice(-600)}`));
      const timer = setTimeout(() => finish(late), timeoutMs);
      const look = () => {
        const match = pattern.exec(this.output);
        if (match !== null) finish(() => resolve(match));
      };
      this.#wake.add(look);
      look();
    });
  }

  /** Types lines on its monitor, which must take them without a word. */
  types(...lines) {
    const input = lines.map((line) => `${line}\n`).join("");
    const options = { input, timeout: STEP_MS };
    const said = execFileSync(
      "/usr/bin/socat",
      ["-t120", "-", `UNIX-CONNECT:${this.path}.monitor`],
      options,
    ).toString();
    const answers = said.split("\r\n").filter((line) => !line.includes("(qemu) ") && !/^Baton .* monitor/.test(line));
    assert.deepEqual(answers.filter(Boolean), []);
  }

  /** Its descriptors and threads. */
  get resources() {
    return ["fd", "task"].map((kind) => readdirSync(`/proc/${this.child.pid}/${kind}`).length);
  }
}

run("losetup", DISK, "disk.img");
ip("tuntap", "add", "dev", "tap0", "mode", "tap");
ip("addr", "add", "10.0.0.1/24", "dev", "tap0");
ip("link", "set", "tap0", "up");
const given = sumOf(Buffer.alloc(1 << 20, "what the host has put there\n"));

const baton = new Binary("/tmp/qmp", TIMES);
let qmp;
let withSlots;

await test("the guest finds empty disks and cards without a cable, beside its root", async () => {
  qmp = await SocatSession.open("/tmp/qmp");
  const [, found, uptime] = await baton.says(/FOUND (.*) UPTIME (\S+)\s/);
  assert.equal(found, "vda=8192 vdb=0 vdc=0 vdd=0 vde=0 vdf=0 eth0=0 eth1=0");
  withSlots = Number(uptime);
  tell("booted");
});

/** Unplugs a device the way it came. */
async function remove(time, id, session) {
  if (time % 2 === 1) return qmp.replay(session);
  baton.types(`device_del ${id}`);
  const { event, data } = JSON.parse(await qmp.line());
  assert.deepEqual([event, data], ["DEVICE_DELETED", { device: id, path: id }]);
}

const sectors = statSync("disk.img").size / 512;
const sums = [];
await test(`a disk is plugged in, mounted, read, written, unmounted and unplugged, ${TIMES} times`, async () => {
  let before;
  for (let i = 1; i <= TIMES; i++) {
    if (i % 2 === 1) await qmp.replay(ADD_DISK);
    else baton.types(...TYPE_DISK);
    tell(`disk ${i} plugged in`);
    const [, what] = await baton.says(new RegExp(`DISK ${i} (.*)\\r`));
    assert.equal(what, `sectors=${sectors} serial=drive-0 given=${given}`);
    sums.push((await baton.says(new RegExp(`WRITTEN ${i} (\\S+)\\s`)))[1]);
    await baton.says(new RegExp(`UNMOUNTED ${i}`));
    const [{ stats }] = (await qmp.execute("query-blockstats")).return.filter(({ device }) => device === "drive-0");
    assert.ok(stats.wr_bytes >= 2_000_000 && stats.flush_operations > 0 && stats.failed_wr_operations === 0);
    tell(`disk ${i} unmounted`);
    await remove(i, "drive-0", REMOVE_DISK);
    await baton.says(new RegExp(`GONE ${i}`));
    before ??= baton.resources;
    assert.deepEqual(baton.resources, before);
  }
  run("mount", "-t", "ext4", "-o", "ro", DISK, "/mnt");
  assert.deepEqual(
    sums.map((_, i) => sumOf(readFileSync(`/mnt/written.${i + 1}`))),
    sums,
  );
  run("umount", "/mnt");
  tell("disks");
});

await test(`a network card is plugged in, carries traffic and is unplugged, ${TIMES} times`, async () => {
  const blob = Buffer.alloc(1_000_000, "back to the guest\n");
  let got = Buffer.alloc(0);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("end", () => {
      got = Buffer.concat(chunks);
      socket.end(blob);
    });
  }).listen(5000, "10.0.0.1");
  let before;
  for (let i = 1; i <= TIMES; i++) {
    if (i % 2 === 1) await qmp.replay(ADD_NIC);
    else baton.types(...TYPE_NIC);
    const [, sent, back] = await baton.says(new RegExp(`SENT ${i} (\\S+) GOT (\\S+)\\s`));
    tell(`card ${i} has sent`);
    assert.equal(sumOf(got), sent);
    assert.equal(back, sumOf(blob));
    await remove(i, "net-0", REMOVE_NIC);
    await baton.says(new RegExp(`CARRIER ${i} 0`));
    before ??= baton.resources;
    assert.deepEqual(baton.resources, before);
  }
  server.close();
  tell("cards");
});

await test("each refusal has its sentence, and leaves the slots as they were", async () => {
  const refusal = async (command, args, desc) => {
    const before = await qmp.execute("query-block");
    assert.deepEqual(await qmp.execute(command, args), { error: { class: desc[0], desc: desc[1] } });
    assert.deepEqual(await qmp.execute("query-block"), before);
  };
  const node = { "node-name": "d", file: { driver: "file", filename: DISK } };
  const image = { driver: "file", filename: "root.img" };
  await refusal("device_del", { id: "rootfs" }, [
    "GenericError",
    "Device 'rootfs' has the guest's root file system: it cannot be unplugged",
  ]);
  await refusal("blockdev-add", { ...node, file: image }, [
    "GenericError",
    "The image root.img is the guest's root disk 'rootfs': it cannot be plugged again",
  ]);
  assert.deepEqual(await qmp.execute("blockdev-add", node), { return: {} });
  await refusal("device_add", { id: "d", driver: "virtio-blk-mmio", addr: "0x0" }, [
    "GenericError",
    "Device 'd' cannot have disk slot 0: device 'rootfs' is in it",
  ]);
  assert.deepEqual(await qmp.execute("device_add", { id: "d", driver: "virtio-blk-mmio", lun: 0 }), { return: {} });
  await baton.says(/vdb/);
  assert.equal((await qmp.execute("device_del", { id: "d" })).event, "DEVICE_DELETED");
  assert.deepEqual(JSON.parse(await qmp.line()), { return: {} });
  qmp.close();
  baton.child.kill();
  await baton.ended;
});

await test("a machine without slots boots with its root alone", async () => {
  const other = new Binary("/tmp/qmp2", 0, ["-machine", "microvm,disk-slots=0,nic-slots=0"]);
  const [, found, uptime] = await other.says(/FOUND (.*) UPTIME (\S+)\s/);
  await other.ended;
  console.log(`# boot to user space: ${withSlots} s with 6 disk slots and 2 card slots, ${uptime} s without`);
  assert.equal(found, "vda=8192");
});
run("losetup", "-d", DISK);
done();
