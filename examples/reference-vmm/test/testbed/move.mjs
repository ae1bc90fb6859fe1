/**
 * Inside the testbed: a Linux guest with 4 vCPUs and every virtio device, all under load, is moved into fresh KVM VMs again
 * and again, its state each time through sections in another encoding.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { virtioBalloon, virtioBlk, virtioConsole, virtioNet, virtioRng, virtioVsock } from "@baton/devices-virtio";
import { RamBlock } from "@baton/memory";
import { protobufCodec } from "@baton/migration/protobuf";
import { jsonCodec, qemuCodec } from "@baton/migration/vmstate";
import { joinSections, saveSections } from "@baton/reference-vmm";
import { ip } from "./ip.mjs";
import { LinuxVm } from "./linux-vm.mjs";
import { done, test } from "./tap.mjs";

const moves = Number(process.env.MOVES);
const VCPUS = 4;
/** A slow machine is no stall: that every CPU goes on is seen by its ticks. */
const PATIENCE = "rcupdate.rcu_cpu_stall_timeout=300 watchdog_thresh=60";
let seed = 20261121;
const random = () => {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return seed / 0x7fffffff;
};
const codecs = [qemuCodec, jsonCodec, protobufCodec];
/** The state as another process finds it that was given its sections, in the encoding of the round. */
const throughSections = (state, inventory, round) => {
  const codec = codecs[round % codecs.length];
  const sections = saveSections(state, inventory).map(({ descriptor, ...section }) => ({
    ...section,
    state: codec.decode(descriptor, codec.encode(descriptor, section.state)),
  }));
  return joinSections(sections, inventory);
};
/** A state whose connections have left their sockets behind, as sections have it. */
const withoutSockets = (state) => {
  const bare = (list) => list.map((each) => ({ ...each, fd: -1, inode: 0n }));
  const virtio = state.devices.virtio.map(({ id, state: { device, ...rest } }) => {
    if (id !== "vsock") return { id, state: { device, ...rest } };
    const { connections, handshakes } = device;
    return {
      id,
      state: { ...rest, device: { ...device, connections: bare(connections), handshakes: bare(handshakes) } },
    };
  });
  return { ...state, devices: { ...state.devices, virtio } };
};

const PORT_OUTPUT = "/tmp/port";
const VSOCK = "/tmp/vsock";
ip("tuntap", "add", "dev", "tap0", "mode", "tap");
ip("addr", "add", "10.0.0.1/24", "dev", "tap0");
ip("link", "set", "tap0", "up");
writeFileSync("disk.img", new Uint8Array(4 << 20));
writeFileSync(PORT_OUTPUT, "");
const echo = createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(`${VSOCK}_1024`);
const devices = [
  virtioBlk({ id: "disk", path: "disk.img" }),
  virtioNet({ id: "card", backend: { kind: "tap", name: "tap0" } }),
  virtioRng({ id: "rng" }),
  virtioConsole({
    id: "serial",
    ports: [{ id: "hvc", console: true, backend: { kind: "file", path: PORT_OUTPUT, append: true } }],
  }),
  virtioBalloon({ id: "balloon" }),
  virtioVsock({ id: "vsock", guestCid: 3, path: VSOCK }),
];
const MODULES = "virtio_mmio,virtio_blk,virtio_net,virtio_rng,virtio_console,virtio_balloon,vmw_vsock_virtio_transport";
const DEVICES = ["disk", "card", "entropy", "balloon", "sockets"];
const MIB = 256;

/** How many rounds of each device went well. */
const busy = (guest) =>
  Object.fromEntries(DEVICES.map((name) => [name, guest.output.match(new RegExp(`BUSY ${name} `, "g"))?.length ?? 0]));
/** Every line of the console is there, once, in order; how many. */
const lines = () => {
  const found = readFileSync(PORT_OUTPUT, "latin1").split("\n").slice(0, -1);
  for (const [i, line] of found.entries()) assert.equal(line, String(i + 1).padStart(63, "0"));
  return found.length;
};
const ticks = (guest) => guest.output.match(/BATON TICK cpu=\d+/g) ?? [];

await test(`a Linux guest with ${VCPUS} vCPUs and all devices under load is moved ${moves} times`, async () => {
  const block = RamBlock.create({ id: "pc.ram", size: BigInt(MIB) << 20n, backend: { kind: "memfd" } });
  const load = `baton.then=load baton.load-kib=256 baton.load-files=4 baton.modules=${MODULES} baton.test=script`;
  const guest = new LinuxVm({ vcpus: VCPUS, words: `net.ifnames=0 ${load} ${PATIENCE}`, block, devices });
  await guest.create();
  const met = {};
  let longest = 0;
  /** Gives the balloon work: another size than the guest has now. */
  const squeeze = async () => {
    const balloon = guest.vm.machine.virtio.find("balloon");
    const { actual } = await balloon.command("query");
    const mib = actual >> 20;
    await balloon.command("set", { bytes: (mib > MIB - 16 ? mib - 12 : mib + 5) << 20 });
  };
  /** Waits until every CPU and every device has gone on. */
  const allGoOn = async (when) => {
    const [ticked, before, printed] = [ticks(guest).length, busy(guest), lines()];
    await squeeze();
    const goesOn = () => {
      const now = busy(guest);
      return new Set(ticks(guest).slice(ticked)).size === VCPUS && DEVICES.every((name) => now[name] > before[name]);
    };
    await guest.until(goesOn, `all CPUs and devices ${when}`, 180_000).catch((error) => {
      throw new Error(`${error.message}; ${JSON.stringify([before, busy(guest)])}`);
    });
    assert.ok(lines() > printed, `the console ${when}`);
  };
  await guest.vm.start();
  await guest.until(() => new Set(ticks(guest)).size === VCPUS, "the load on every CPU", 180_000);
  for (let move = 0; move < moves; move++) {
    await squeeze();
    if (move % 10 === 0) await allGoOn(`before move ${move}`);
    await delay(random() * 120);
    const began = performance.now();
    await guest.vm.pause();
    for (const place of guest.vm.stopPoints) met[place] = (met[place] ?? 0) + 1;
    const saved = await guest.vm.saveState();
    const state = throughSections(saved, guest.vm.machine.inventory, move);
    assert.deepEqual(state, withoutSockets(saved));
    await guest.vm.close({ handedOver: true });
    await guest.create({ state });
    await guest.vm.resume();
    longest = Math.max(longest, performance.now() - began);
  }
  await allGoOn("after the last move");
  const told = JSON.stringify({ ...busy(guest), console: lines() });
  console.log(`# ${moves} moves, the longest ${longest.toFixed(0)} ms; vCPUs stopped in: ${JSON.stringify(met)}`);
  console.log(`# ${ticks(guest).length} ticks; rounds of the devices: ${told}`);
  assert.doesNotMatch(guest.output, /BATON BAD|soft lockup|rcu.*stall|BUG:|Oops/);
  await guest.vm.close();
  block.close();
});
echo.close();
done();
