/** Inside the testbed: Linux guests with their root on virtio-blk, stopped hard, and disks on every kind of ring. */
import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import { virtioBlk } from "@baton/devices-virtio";
import { LinuxVm } from "./linux-vm.mjs";
import { done, test } from "./tap.mjs";

const STOPS = Number(process.env.STOPS);
const SECONDS = Number(process.env.SECONDS);
const DISK_MIB = 4;

const kinds = [];
for (const packed of [false, true]) {
  for (const eventIndex of [false, true])
    for (const indirect of [false, true]) kinds.push({ packed, eventIndex, indirect });
}

const words = (more) => `baton.modules=virtio_mmio,virtio_blk baton.root=/dev/vda ${more}`;
const root = () => virtioBlk({ id: "root", path: "root.img" });

let synced = 0;
await test(`a root file system survives ${STOPS} hard stops`, async () => {
  for (let stop = 0; stop < STOPS; stop++) {
    const guest = await new LinuxVm({ words: words(`job=flood synced=${synced}`), devices: [root()] }).create();
    try {
      await guest.vm.start();
      const last = () => Number([...guest.output.matchAll(/SYNCED (\d+)/g)].at(-1)?.[1] ?? 0);
      await guest.until(() => last() >= 2 + stop, "a few rounds of writes", 120_000 + stop * 10_000);
      assert.match(guest.output, /ROOT .* rw/);
      if (stop > 0) assert.match(guest.output, /IOMIX OK \/data\/flood/);
      assert.doesNotMatch(guest.output, /BAD|EXT4-fs error/);
    } finally {
      synced = Number([...guest.output.matchAll(/SYNCED (\d+)/g)].at(-1)?.[1] ?? 0);
      // As a pulled plug: the guest is told nothing.
      await guest.vm.close();
    }
  }
  console.log(`# SYNCED ${synced}`);
});

await test("mixed load with verification on every kind of ring", async () => {
  const disks = kinds.map((rings, i) => {
    const path = `disk${i}.img`;
    writeFileSync(path, "");
    truncateSync(path, DISK_MIB << 20);
    return virtioBlk({ id: `disk${i}`, path, rings, queues: i % 2 === 0 ? 1 : 2 });
  });
  const guest = await new LinuxVm({
    vcpus: 2,
    words: words(`job=mix seconds=${SECONDS} mib=${DISK_MIB} disks=bcdefghi`),
    devices: [root(), ...disks],
  }).create();
  try {
    await guest.vm.start();
    const outcome = await guest.vm.wait({ signal: AbortSignal.timeout(400_000 + SECONDS * 10_000) });
    assert.equal(outcome.reason, "shutdown");
    const results = [...guest.output.matchAll(/IOMIX OK \/dev\/vd(.) operations=(\d+)/g)];
    assert.equal(results.length, kinds.length, guest.output);
    assert.doesNotMatch(guest.output, /IOMIX BAD|I\/O error/);
    for (const [i] of kinds.entries()) {
      const statistics = await guest.vm.machine.virtio.find(`disk${i}`).command("statistics");
      assert.equal(statistics.read.failed + statistics.write.failed + statistics.flush.failed, 0);
      assert.ok(statistics.flush.operations > 0 && statistics.write.operations > 0);
    }
    for (const [line] of results) console.log(`# ${line}`);
  } finally {
    await guest.vm.close();
  }
});
done();
