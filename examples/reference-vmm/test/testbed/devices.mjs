/**
 * Inside the testbed: Linux drives the entropy device, the balloon, and both kinds of socket devices. Each machine moves
 * to another VM: streams through user space go on, those through vhost-vsock break, and new ones are made.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { vhostVsock, virtioBalloon, virtioRng, virtioVsock } from "@baton/devices-virtio";
import { fstat } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { LinuxVm } from "./linux-vm.mjs";
import { done, tell, test } from "./tap.mjs";

const MIB = 2 ** 20;
const MEGABYTES = Number(process.env.MEGABYTES);
const BYTES = MEGABYTES * MIB;
/** The guest keeps what it sends and what it gets. */
const SIZE_MIB = 144 + 2 * MEGABYTES;
const BALLOON_MIB = 48;
/** What the guest leaves free when it fills its memory. */
const SPARE_MIB = 24;
const STEP_MS = 150_000 + 5000 * MEGABYTES;
const [FIRST_CID, SECOND_CID] = [3, 4];
const PATH = "/tmp/vsock";
const MODULES = "virtio_mmio,virtio_rng,virtio_balloon,vmw_vsock_virtio_transport";

const sumOf = (bytes) => createHash("md5").update(bytes).digest("hex");

class Guest {
  constructor(role, devices) {
    this.block = RamBlock.create({ id: `${role}.ram`, size: BigInt(SIZE_MIB * MIB), backend: { kind: "memfd" } });
    const words = [
      `baton.modules=${MODULES} baton.test=script baton.then=wait`,
      `dev.role=${role} dev.mb=${MEGABYTES} dev.balloon=${BALLOON_MIB} dev.spare=${SPARE_MIB}`,
    ];
    this.linux = new LinuxVm({ sizeMiB: SIZE_MIB, words: words.join(" "), devices, block: this.block });
  }

  async start() {
    await this.linux.create();
    await this.linux.vm.start();
  }

  /** What the guest says after a word. */
  async says(pattern) {
    await this.linux.until(() => pattern.test(this.linux.output), String(pattern), STEP_MS);
    return pattern.exec(this.linux.output);
  }

  device(id) {
    return this.linux.vm.machine.virtio.find(id);
  }

  /** MiB of the guest's memory that the host holds. */
  get resident() {
    return Number(fstat(this.block.fd).blocks) / 2048;
  }

  async move() {
    const { vm } = this.linux;
    await vm.pause();
    const state = await vm.saveState();
    await vm.close({ handedOver: true });
    await this.linux.create({ state });
    await this.linux.vm.resume();
  }

  async close() {
    await this.linux.vm?.close();
    this.block.close();
  }
}

/** All that comes on a stream until its end, and the stream, which sends `bytes` and ends. */
async function exchange(socket, bytes) {
  const chunks = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.end(bytes);
  await once(socket, "end");
  return Buffer.concat(chunks);
}

/** A stream to a port of the guest through the device's UNIX socket; tried until somebody listens there. */
async function dial(port) {
  for (;;) {
    const socket = connect({ path: PATH, allowHalfOpen: true });
    socket.on("error", () => {});
    socket.write(`CONNECT ${port}\n`);
    const answer = await new Promise((resolve) => {
      socket.once("data", (bytes) => resolve(bytes));
      socket.once("end", () => resolve(null));
    });
    if (answer === null) {
      socket.destroy();
      continue;
    }
    // The guest's first bytes may come with the answer.
    const end = answer.indexOf(10) + 1;
    assert.match(answer.toString("latin1", 0, end), /^OK \d+\n$/);
    socket.pause();
    if (end < answer.length) socket.unshift(answer.subarray(end));
    return socket;
  }
}

/** The program of the guest, on the host. */
function vsock(words, input, output) {
  const child = spawn("sh", ["-c", `exec ./vsock ${words} <${input} >${output}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr.setEncoding("latin1");
  let errors = "";
  const connected = new Promise((resolve) => {
    child.stderr.on("data", (text) => {
      errors += text;
      if (errors.includes("CONNECTED")) resolve();
    });
  });
  const ended = once(child, "exit").then(([code]) => {
    assert.equal(code, 0, `vsock ${words}: ${errors}`);
  });
  return { connected, ended };
}

// Numbered words of 4 bytes, so that every place in it tells where it is.
writeFileSync("/tmp/entropy", Buffer.from(Uint32Array.from({ length: 1 << 20 }, (_, i) => 0xc0de0000 + i).buffer));
const first = new Guest("first", [
  virtioRng({ id: "rng", path: "/tmp/entropy" }),
  virtioBalloon({ id: "balloon" }),
  virtioVsock({ id: "vsock", guestCid: FIRST_CID, path: PATH }),
]);
const second = new Guest("second", [vhostVsock({ id: "vsock", guestCid: SECOND_CID })]);
const data = randomBytes(BYTES);
let starting;
const million = randomBytes(1e6);

await test("Linux has its entropy from the device", async () => {
  // All of its memory is the host's from the start, so that what the balloon takes was there.
  await first.block.prefault();
  await first.start();
  starting = second.start();
  starting.catch(() => {});
  const [, name, bytes] = await first.says(/RNG (\S+) ([0-9a-f]{64})\s/);
  assert.match(name, /^virtio_rng/);
  const words = new Uint32Array(Uint8Array.from(Buffer.from(bytes, "hex")).buffer);
  // The kernel takes some for itself in between.
  for (const [i, word] of words.entries()) assert.ok(word >>> 24 === 0xc0 && (i === 0 || word > words[i - 1]), bytes);
  tell("entropy");
});

await test("streams through user space carry every byte both ways at once, and go on when the machine moves", async () => {
  const [, out] = await first.says(/OUT (\S+)\s/);
  const socket = await dial(52);
  const coming = exchange(socket, data);
  socket.resume();
  await once(socket, "data");
  await first.move();
  tell("moved");
  assert.equal(sumOf(await coming), out);
  assert.equal((await first.says(/IN (rc=\d \S+)\s/))[1], `rc=0 ${sumOf(data)}`);
  tell("from the host");
  const server = createServer({ allowHalfOpen: true }).listen(`${PATH}_1024`);
  const [guest] = await once(server, "connection");
  assert.equal(sumOf(await exchange(guest, million)), sumOf(data.subarray(0, 1e6)));
  assert.equal((await first.says(/BACK (rc=\d \S+)\s/))[1], `rc=0 ${sumOf(million)}`);
  server.close();
  tell("from the guest");
});

await test("the balloon takes memory from Linux, and gives it back", async () => {
  const balloon = first.device("balloon");
  const set = async (mib) => {
    const arrived = () =>
      first.linux.events.some(({ type, actual }) => type === "balloon-changed" && actual === mib * MIB);
    first.linux.events.length = 0;
    await balloon.command("set", { bytes: mib * MIB });
    await first.linux.until(arrived, `${mib} MiB`, STEP_MS);
  };
  const [, total] = await first.says(/MEM (\d+) KiB/);
  assert.equal((await balloon.command("query")).active, true);
  const before = first.resident;
  await set(SIZE_MIB - BALLOON_MIB);
  const [, less] = await first.says(/MEM \d+ KiB\s+MEM (\d+) KiB/);
  assert.equal(total - less, BALLOON_MIB * 1024);
  const inflated = first.resident;
  await set(SIZE_MIB);
  await first.says(/FILLED/);
  const after = first.resident;
  tell(
    `the host holds ${before} MiB, with the balloon ${inflated}, and ${after} when the guest has used what came back`,
  );
  assert.ok(Math.abs(before - inflated - BALLOON_MIB) < 2);
  assert.ok(after - inflated > BALLOON_MIB - SPARE_MIB - 2);
});
await first.close();

await test("streams through vhost-vsock carry every byte both ways at once", async () => {
  await starting;
  const another = vhostVsock({ id: "another", guestCid: SECOND_CID });
  assert.throws(() => another.open((_name, _id, open) => open(), { ramBytes: 0 }), { code: "CID_IN_USE" });
  const [, out] = await second.says(/OUT (\S+)\s/);
  writeFileSync("/tmp/data", data);
  writeFileSync("/tmp/million", million);
  await vsock(`connect ${SECOND_CID} 52`, "/tmp/data", "/tmp/got").ended;
  assert.equal(sumOf(readFileSync("/tmp/got")), out);
  assert.equal((await second.says(/IN (rc=\d \S+)\s/))[1], `rc=0 ${sumOf(data)}`);
  tell("vhost-vsock, from the host");
  await vsock("listen 1024", "/tmp/million", "/tmp/got").ended;
  assert.equal(sumOf(readFileSync("/tmp/got")), sumOf(data.subarray(0, 1e6)));
  assert.equal((await second.says(/BACK (rc=\d \S+)\s/))[1], `rc=0 ${sumOf(million)}`);
  tell("vhost-vsock");
});

await test("a move breaks the connections of vhost-vsock, which the guest is told, and new ones are made", async () => {
  const broken = vsock("listen 1025", "/dev/null", "/dev/null");
  broken.ended.catch(() => {});
  await broken.connected;
  await second.move();
  assert.match((await second.says(/BROKEN rc=(\d)/))[1], /1/);
  await vsock("listen 1026", "/dev/null", "/tmp/got").ended;
  assert.equal(readFileSync("/tmp/got", "latin1"), "again\n");
  await second.says(/AGAIN rc=0/);
  assert.deepEqual(await second.device("vsock").command("info"), { guestCid: SECOND_CID, running: true });
  tell("after the move");
});
await second.close();
done();
