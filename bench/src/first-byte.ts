import { guestPath } from "@baton/guests";
import { createVm, serial } from "@baton/reference-vmm";

/** Makes a VM, runs it to its first serial byte, and closes it; resolves to the milliseconds from the call to the byte. */
export async function firstByte(): Promise<number> {
  const began = performance.now();
  let ended = 0;
  let tell = () => {};
  const told = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const vm = await createVm({
    memory: { sizeMiB: 64 },
    boot: { kernel: guestPath("hello") },
    devices: [
      serial({
        onOutput: () => {
          if (ended !== 0) return;
          ended = performance.now();
          tell();
        },
      }),
    ],
  });
  await vm.start();
  await told;
  await vm.close();
  return ended - began;
}

if (process.argv[1]?.endsWith("first-byte.js")) {
  await firstByte();
  process.stdout.write("", () => process.exit());
}
