import { readFileSync } from "node:fs";
import { guestPath } from "@baton/guests";
import { createVm, type VirtualMachine } from "@baton/reference-vmm";
import { markdownTable } from "./statistics.js";

const VMS = 8;

/** Proportional set size in MiB without guest RAM, which is all that is mapped from memfds. */
function pssWithoutGuests(): number {
  const smaps = readFileSync("/proc/self/smaps", "utf8");
  let total = 0;
  let guest = false;
  for (const line of smaps.split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) guest = line.includes("/memfd:");
    else if (!guest && line.startsWith("Pss:")) total += Number(/\d+/.exec(line)?.[0]);
  }
  return total / 1024;
}

/** Memory of the process with one VM, and what each further VM adds. */
export async function benchFootprint(): Promise<string> {
  const vms: VirtualMachine[] = [];
  const empty = pssWithoutGuests();
  const add = async () => {
    const vm = await createVm({
      memory: { sizeMiB: 64 },
      boot: { kernel: guestPath("hello"), cmdline: "primes=100000000" },
    });
    await vm.start();
    vms.push(vm);
  };
  await add();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const first = pssWithoutGuests();
  for (let i = 0; i < VMS; i++) await add();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const all = pssWithoutGuests();
  await Promise.all(vms.map((vm) => vm.close()));
  return markdownTable(
    ["MiB (PSS without guest RAM)", ""],
    [
      ["process before its first VM", empty.toFixed(1)],
      ["process with one VM", first.toFixed(1)],
      [`each further VM (mean of ${VMS})`, ((all - first) / VMS).toFixed(1)],
    ],
  );
}
