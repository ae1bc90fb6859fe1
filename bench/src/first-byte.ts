import { threadPool } from "@baton/core-kvm";
import { guestPath } from "@baton/guests";

/** Makes a VM, runs it to its first serial byte, and closes it; resolves to the milliseconds from the call to the byte. */
export async function firstByte(onByte: () => void = () => {}): Promise<number> {
  const { createVm, serial } = await import("@baton/reference-vmm");
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
          onByte();
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
  threadPool.prestart(1).catch(() => {});
  await firstByte(() => process.stdout.write("."));
  process.stdout.write("", () => process.exit());
}
