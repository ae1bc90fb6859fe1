/** Inside the testbed: a Linux guest with 4 vCPUs under load is moved into fresh KVM VMs again and again. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { RamBlock } from "@baton/memory";
import { jsonCodec, qemuCodec } from "@baton/migration/vmstate";
import { joinSections, saveSections } from "@baton/reference-vmm";
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
const codecs = [qemuCodec, jsonCodec];
/** The state as another process finds it that was given its sections, in the encoding of the round. */
const throughSections = (state, inventory, round) => {
  const codec = codecs[round % codecs.length];
  const sections = saveSections(state, inventory).map(({ descriptor, ...section }) => ({
    ...section,
    state: codec.decode(descriptor, codec.encode(descriptor, section.state)),
  }));
  return joinSections(sections, inventory);
};
const ticks = (guest) => guest.output.match(/BATON TICK cpu=\d+/g) ?? [];

await test(`a Linux guest with ${VCPUS} vCPUs under load is moved ${moves} times`, async () => {
  const block = RamBlock.create({ id: "pc.ram", size: 256n << 20n, backend: { kind: "memfd" } });
  const words = `baton.count=1 baton.then=load baton.load-kib=256 baton.load-files=4 ${PATIENCE}`;
  const guest = new LinuxVm({ vcpus: VCPUS, words, block });
  await guest.create();
  const met = {};
  let longest = 0;
  await guest.vm.start();
  await guest.until(() => new Set(ticks(guest)).size === VCPUS, "the load on every CPU", 180_000);
  for (let move = 0; move < moves; move++) {
    await delay(random() * 120);
    const began = performance.now();
    await guest.vm.pause();
    for (const place of guest.vm.stopPoints) met[place] = (met[place] ?? 0) + 1;
    const saved = await guest.vm.saveState();
    const state = throughSections(saved, guest.vm.machine.inventory, move);
    assert.deepEqual(state, saved);
    await guest.vm.close();
    await guest.create({ state });
    await guest.vm.resume();
    longest = Math.max(longest, performance.now() - began);
    const before = ticks(guest).length;
    if (move % 10 === 9)
      await guest.until(() => ticks(guest).length > before, `a sign of life after move ${move}`, 30_000);
  }
  const before = ticks(guest).length;
  await guest.until(
    () => new Set(ticks(guest).slice(before)).size === VCPUS,
    "the load on every CPU after the last move",
    120_000,
  );
  console.log(
    `# ${moves} moves, the longest ${longest.toFixed(0)} ms; vCPUs stopped in: ${JSON.stringify(met)}; ${ticks(guest).length} ticks`,
  );
  assert.doesNotMatch(guest.output, /BATON BAD|soft lockup|rcu.*stall|BUG:|Oops/);
  await guest.vm.close();
  block.close();
});
done();
