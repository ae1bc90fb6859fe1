import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { virtioBalloon, virtioBlk, virtioConsole, virtioRng, virtioVsock } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { type Codec, jsonCodec, qemuCodec } from "@baton/migration/vmstate";
import { createVm, joinSections, saveSections, serial, type VmConfig } from "@baton/reference-vmm";
import { markdownTable, median } from "./statistics.js";

const WARM_UP = 300;
const COUNT = 200;
/** How long the guest runs before its state is taken. */
const RUN_MS = 2000;

/** From a machine's state to its encoded sections, and back. */
export async function benchVmstate(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "baton-vmstate-"));
  try {
    const rows = [];
    for (const [name, config] of Object.entries(machines(directory))) rows.push(...(await benchMachine(name, config)));
    return markdownTable(["ms, medians", "encoding", "bytes", "save", "load"], rows);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function machines(directory: string): Record<string, VmConfig> {
  const image = (name: string) => {
    const path = join(directory, name);
    writeFileSync(path, new Uint8Array(8 << 20));
    return path;
  };
  const memory = { sizeMiB: 64 };
  return {
    "1 vCPU, a serial port": {
      memory,
      boot: { kernel: guestPath("hello"), cmdline: "primes=100000000" },
      devices: [serial()],
    },
    "4 vCPUs, a serial port, eight devices": {
      memory,
      vcpus: 4,
      boot: { kernel: guestPath("virtload"), cmdline: "burst=50" },
      discovery: "cmdline",
      devices: [
        serial(),
        virtioBlk({ id: "disk0", path: image("0.img") }),
        virtioBlk({ id: "disk1", path: image("1.img") }),
        virtioBlk({ id: "disk2", path: image("2.img") }),
        virtioBlk({ id: "disk3", path: image("3.img") }),
        virtioRng({ id: "entropy" }),
        virtioBalloon({ id: "balloon" }),
        virtioConsole({ id: "console", ports: [{ id: "port", console: false, backend: { kind: "null" } }] }),
        virtioVsock({ id: "sockets", guestCid: 5, path: join(directory, "vsock") }),
      ],
    },
  };
}

async function benchMachine(name: string, config: VmConfig): Promise<(string | number)[][]> {
  await using vm = await createVm(config);
  await vm.start();
  await new Promise((resolve) => setTimeout(resolve, RUN_MS));
  await vm.pause();
  const state = await vm.saveState();
  const { inventory } = vm.machine;
  const measure = <Encoded>(encoding: string, codec: Codec<Encoded>, bytes: (encoded: Encoded) => number) => {
    const save = () =>
      saveSections(state, inventory).map(({ idstr, instanceId, descriptor, state: each }) => ({
        idstr,
        instanceId,
        descriptor,
        encoded: codec.encode<unknown>(descriptor, each),
      }));
    const stream = save();
    const load = () =>
      joinSections(
        stream.map(({ idstr, instanceId, descriptor, encoded }) => ({
          idstr,
          instanceId,
          state: codec.decode<unknown>(descriptor, encoded),
        })),
        inventory,
      );
    const total = stream.reduce((sum, { encoded }) => sum + bytes(encoded), 0);
    return [name, encoding, total, time(save).toFixed(2), time(load).toFixed(2)];
  };
  return [
    measure("qemu", qemuCodec, (bytes) => bytes.length),
    measure("json", jsonCodec, (json) => JSON.stringify(json).length),
  ];
}

/** The median of many warm runs, in ms. */
function time(work: () => unknown): number {
  for (let i = 0; i < WARM_UP; i++) work();
  const samples = Array.from({ length: COUNT }, () => {
    const began = performance.now();
    work();
    return performance.now() - began;
  });
  return median(samples);
}
