import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type BalloonInfo, virtioBalloon } from "@baton/devices-virtio";
import { guestPath, virtloadCmdline } from "@baton/guests";
import { fstat } from "@baton/linux";
import { expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { createVm, serial, type VirtualMachine } from "../src/index.js";
import { until } from "./support/until.js";

const RAM_MIB = 96;
const BALLOON_MIB = 64;
/** What the guest may touch or leave beside the balloon meanwhile. */
const SLACK_MIB = 2;

/** Guest RAM that this process has in memory, by the kernel's account of its mapping, and what its memfd holds; MiB. */
function resident(vm: VirtualMachine): { readonly mapping: number; readonly memfd: number } {
  const maps = readFileSync("/proc/self/smaps", "latin1").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const ram = maps.filter((map) => map.includes(`memfd:baton-ram-${vm.machine.block.id} `));
  const kib = ram.reduce((sum, map) => sum + Number(/^Rss:\s+(\d+) kB/m.exec(map)?.[1] ?? 0), 0);
  const { fd } = vm.machine.block;
  return { mapping: kib / 1024, memfd: fd === undefined ? 0 : Number(fstat(fd).blocks) / 2048 };
}

async function balloonVm(
  freePageReporting: boolean,
): Promise<{ vm: VirtualMachine; query: () => Promise<BalloonInfo> }> {
  let output = "";
  const vm = await createVm({
    memory: { sizeMiB: RAM_MIB, prealloc: true },
    boot: { kernel: guestPath("virtload"), cmdline: virtloadCmdline({ balloon: BALLOON_MIB, print: 1e9 }) },
    discovery: "cmdline",
    devices: [
      serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) }),
      virtioBalloon({ id: "balloon", freePageReporting }),
    ],
  });
  const query = async () => (await vm.machine.virtio.find("balloon")?.command("query")) as BalloonInfo;
  await vm.start();
  await until(async () => (await query()).active, `the guest's driver (${output})`);
  return { vm, query };
}

/** Asks for so many MiB, and waits until the guest has them. */
async function setMiB(vm: VirtualMachine, query: () => Promise<BalloonInfo>, mib: number): Promise<void> {
  await vm.machine.virtio.find("balloon")?.command("set", { bytes: mib * 2 ** 20 });
  await until(async () => (await query()).actual === mib * 2 ** 20, `${mib} MiB`, 30_000);
}

describeKvm("a balloon", () => {
  it("takes memory from the process and gives it back, by the amount that was asked for", async () => {
    const { vm, query } = await balloonVm(false);
    await using _ = vm;
    const before = resident(vm);
    expect(before.mapping).toBeGreaterThan(RAM_MIB - SLACK_MIB);
    for (const asked of [RAM_MIB - 16, RAM_MIB - BALLOON_MIB, RAM_MIB - 32, RAM_MIB]) {
      await setMiB(vm, query, asked);
      const now = resident(vm);
      expect(Math.abs(before.mapping - now.mapping - (RAM_MIB - asked))).toBeLessThan(SLACK_MIB);
      expect(Math.abs(before.memfd - now.memfd - (RAM_MIB - asked))).toBeLessThan(SLACK_MIB);
    }
  });

  it("tells of changes, never more than all memory", async () => {
    const { vm, query } = await balloonVm(false);
    await using _ = vm;
    const actual: number[] = [];
    vm.onEvent((event) => {
      if (event.type === "balloon-changed") actual.push(event.actual);
    });
    await setMiB(vm, query, RAM_MIB - 8);
    await until(() => actual.at(-1) === (RAM_MIB - 8) * 2 ** 20, "the event");
    await vm.machine.virtio.find("balloon")?.command("set", { bytes: 2 ** 40 });
    expect((await query()).target).toBe(RAM_MIB * 2 ** 20);
  });

  it("brings statistics again and again", async () => {
    const { vm, query } = await balloonVm(false);
    await using _ = vm;
    let came = 0;
    vm.onEvent((event) => {
      if (event.type === "device" && event.name === "statistics") came++;
    });
    await vm.machine.virtio.find("balloon")?.command("statistics-interval", { seconds: 0.1 });
    await until(() => came >= 3, "statistics three times");
    const { statistics, lastUpdate } = await query();
    expect(statistics["stat-total-memory"]).toBe(BigInt(RAM_MIB) << 20n);
    expect(lastUpdate).toBeGreaterThan(Date.now() / 1000 - 60);
    await vm.machine.virtio.find("balloon")?.command("statistics-interval", { seconds: 0 });
    const last = came;
    await delay(300);
    expect(came).toBeLessThanOrEqual(last + 1);
  });

  it("gives back what the guest reports as free", async () => {
    const { vm, query } = await balloonVm(true);
    await using _ = vm;
    await until(async () => (await query()).discarded >= 512 * 1024, "a report");
  });
});
