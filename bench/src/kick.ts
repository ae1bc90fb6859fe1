import { guestPath } from "@baton/guests";
import { createVm } from "@baton/reference-vmm";
import { markdownTable, median } from "./statistics.js";
import { runTwin } from "./twin.js";

const COUNT = 200;

/** From asking for a pause of a running vCPU to knowing that it stands. */
export async function benchKick(): Promise<string> {
  await using vm = await createVm({
    memory: { sizeMiB: 64 },
    boot: { kernel: guestPath("hello"), cmdline: "primes=100000000" },
  });
  await vm.start();
  const own: number[] = [];
  for (let i = 0; i < COUNT; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    const began = performance.now();
    await vm.pause();
    own.push((performance.now() - began) * 1000);
    await vm.resume();
  }
  const twin = runTwin("kick", guestPath("hello"), String(COUNT)).map(([ns]) => (ns as number) / 1000);
  const [a, b] = [median(own), median(twin)];
  return markdownTable(
    ["µs, medians", "Baton", "C", "ratio"],
    [["kick to stopped vCPU", a.toFixed(0), b.toFixed(0), `${(a / b).toFixed(1)} x`]],
  );
}
