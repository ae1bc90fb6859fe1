import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type VirtioDeviceDescription,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioNet,
  virtioRng,
  virtioVsock,
} from "@baton/devices-virtio";
import { guestPath, parseVirthostile, virthostileCmdline } from "@baton/guests";
import { afterAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, serial } from "../src/index.js";

const directory = mkdtempSync(join(tmpdir(), "baton-hostile-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** Attacks on each device. */
const STEPS = rounds({ quick: 2000, full: 50_000 });
const SEED = 20261121;
const TIMEOUT_MS = 60_000 + STEPS * 20;

/** Runs the guest that attacks the given devices, to its end. */
async function attack(devices: readonly VirtioDeviceDescription[]) {
  let output = "";
  const problems: string[] = [];
  let broken = 0;
  await using vm = await createVm({
    memory: { sizeMiB: 64 },
    boot: {
      kernel: guestPath("virthostile"),
      cmdline: virthostileCmdline({ seed: SEED, steps: STEPS, ring: "packed" }),
    },
    discovery: "cmdline",
    policy: { onReset: "shutdown" },
    devices: [serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) }), ...devices],
  });
  vm.onEvent((event) => {
    if (event.type === "internal-error") problems.push(event.error.message);
    if (event.type === "device-needs-reset") broken++;
  });
  await vm.start();
  const outcome = await vm.wait({ signal: AbortSignal.timeout(TIMEOUT_MS) });
  expect(problems).toEqual([]);
  return { output, outcome, broken, summary: parseVirthostile(output) };
}

function image(): string {
  const path = join(directory, "disk.img");
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

describeKvm(`a guest that attacks its devices ${STEPS} times`, () => {
  const devices: readonly (readonly [string, () => VirtioDeviceDescription])[] = [
    ["blk", () => virtioBlk({ id: "disk", path: image() })],
    ["net", () => virtioNet({ id: "net", backend: { kind: "tap" } })],
    ["rng", () => virtioRng({ id: "entropy" })],
    [
      "con",
      () =>
        virtioConsole({
          id: "serial",
          ports: [
            { id: "p0", console: true, backend: { kind: "null" } },
            { id: "p1", console: false, backend: { kind: "null" } },
          ],
        }),
    ],
    ["vs", () => virtioVsock({ id: "sockets", guestCid: 3, path: join(directory, "vs") })],
  ];

  it.each(devices)(
    "finds %s asking for a reset, and alive after it",
    async (name, make) => {
      const { outcome, summary, broken, output } = await attack([make()]);
      expect(outcome.reason).toBe("debug-exit");
      expect({ alive: summary?.alive, dead: summary?.dead, output }).toEqual({ alive: [name], dead: [], output });
      expect(broken).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it(
    "finds all of them alive together",
    async () => {
      const { summary, output } = await attack(devices.map(([, make]) => make()));
      expect({ alive: [...(summary?.alive ?? [])].sort(), dead: summary?.dead, output }).toEqual({
        alive: devices.map(([name]) => name).sort(),
        dead: [],
        output,
      });
    },
    TIMEOUT_MS,
  );

  it(
    "may give its own memory to the balloon, and harms nobody else",
    async () => {
      const { outcome } = await attack([virtioBalloon({ id: "balloon", freePageReporting: true })]);
      // A guest that has given away its own code ends as it may: by a triple fault, or well.
      expect(["shutdown", "debug-exit"]).toContain(outcome.reason);
    },
    TIMEOUT_MS,
  );
});
