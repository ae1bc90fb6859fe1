import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeviceThread, type ServiceHandle } from "@baton/core-kvm";
import {
  type RingFeatures,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioNet,
  virtioRng,
  virtioVsock,
} from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { dupFd, type Fd, socketpair } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, machineInventory, serial, type VirtualMachine, type VmConfig } from "../src/index.js";
import { LineCounter } from "./support/line-counter.js";
import { seededRandom } from "./support/random.js";
import { hasStaleStackPointer } from "./support/stale-stack-pointer.js";
import { codecOf, descriptorCodec, throughCodec, withoutSockets } from "./support/state-codecs.js";
import { until } from "./support/until.js";
import { VsockStream } from "./support/vsock-stream.js";

const SEED = 20261121;
const SIZE_MIB = 64;
const IMAGE_BYTES = 8 << 20;
/** How long the guest runs between two moves, at most. */
const RUN_MS = 60;
/** How long the device thread may be held up before a pause, so that doorbells ring unheard; a vCPU may wait for it. */
const STALL_MS = 100;

const directory = mkdtempSync(join(tmpdir(), "baton-seam-"));
const echoModule = new URL("./support/echo-frames.mjs", import.meta.url).href;
const stallModule = new URL("./support/stall.mjs", import.meta.url).href;

/** Descriptors that outlive the machines which use them. */
class FdStore {
  readonly #fds = new Map<string, Fd>();

  readonly openOrFind = (name: string, id: string, open: () => Fd): Fd => {
    const key = `${name}:${id}`;
    let fd = this.#fds.get(key);
    if (fd === undefined) {
      fd = open();
      this.#fds.set(key, fd);
    }
    return dupFd(fd);
  };

  close(): void {
    for (const fd of this.#fds.values()) fd.close();
  }
}

/** What the guest prints of its progress: operations of each device. */
function progress(output: string): Record<string, number> {
  const line = output.match(/^t .*$/gm)?.at(-1) ?? "";
  return Object.fromEntries([...line.matchAll(/(\w+)=(\d+)/g)].map(([, name, count]) => [name, Number(count)]));
}

describeKvm("devices under load are moved to another machine", () => {
  let echo: Server;
  beforeAll(async () => {
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.pipe(socket);
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => echo.listen(join(directory, "vs_1024"), resolve));
  });
  afterAll(() => {
    echo.close();
    rmSync(directory, { recursive: true });
  });

  const moves = rounds({ quick: 20, full: 100 });

  // A thread that polls asks for no doorbells, so none are met unread there.
  it.each<[string, string, RingFeatures, number]>([
    ["split rings", "ring=split event=0 indirect=0", { packed: false, eventIndex: false, indirect: false }, 0],
    ["split rings, event index, indirect, polling", "ring=split", {}, 32_768],
    ["packed rings, polling", "ring=packed event=0 indirect=0", { eventIndex: false, indirect: false }, 32_768],
    ["packed rings, event index, indirect", "ring=packed", {}, 0],
  ])(
    `${moves} times (%s)`,
    async (_, words, rings, maxNs) => {
      const chance = seededRandom(SEED);
      const fds = new FdStore();
      const image = join(directory, "disk.img");
      writeFileSync(image, new Uint8Array(IMAGE_BYTES));
      const block = RamBlock.create({ id: "ram", size: BigInt(SIZE_MIB) << 20n });
      const [card, network] = socketpair({ packets: true, nonblock: true });
      const [line, far] = socketpair({ nonblock: true });
      const port = { kind: "fd" as const, outputFd: line.raw, inputFd: line.raw };
      const echoThread = await DeviceThread.start();
      const frames = await echoThread.serve({
        module: echoModule,
        factory: "echoFrames",
        options: { fd: network.raw },
      });
      const counter = new LineCounter(far.release());
      let output = "";
      const common = { rings, iothread: "io" };
      const config: VmConfig = {
        memory: { sizeMiB: SIZE_MIB, block },
        boot: { kernel: guestPath("virtload"), cmdline: `${words} burst=100000 print=300000000 stall=20000000000` },
        discovery: "cmdline",
        iothreads: [{ id: "io", polling: { maxNs } }],
        openOrFind: fds.openOrFind,
        devices: [
          serial({ onOutput: (bytes) => (output += Buffer.from(bytes).toString("latin1")) }),
          virtioBlk({ ...common, id: "disk", path: image }),
          virtioNet({ ...common, id: "card", backend: { kind: "socket", fds: [card.raw] } }),
          virtioConsole({ ...common, id: "serial", ports: [{ id: "console", console: true, backend: port }] }),
          virtioRng({ ...common, id: "entropy" }),
          virtioBalloon({ ...common, id: "balloon" }),
          virtioVsock({ ...common, id: "sockets", guestCid: 5, path: join(directory, "vs") }),
        ],
      };
      const problems: string[] = [];
      let stall: ServiceHandle | undefined;
      const watch = async (vm: VirtualMachine) => {
        vm.onEvent((event) => {
          if (event.type === "device-needs-reset" || event.type === "internal-error")
            problems.push(JSON.stringify(event));
        });
        const thread = vm.machine.virtio.iothreads.get("io");
        stall = await thread?.serve({ module: stallModule, factory: "stallService", options: null });
      };
      const met = { unreadDoorbells: 0, unacknowledged: 0 };
      let vm = await createVm(config);
      let stream: VsockStream | undefined;
      try {
        await watch(vm);
        await vm.start();
        await until(() => /vs=\d\d/.test(output), "the guest's load");
        stream = await VsockStream.open(join(directory, "vs"), 5000);
        for (let i = 0; i < moves; i++) {
          // Before the run: its answer reads registers, for which a thread that is held up keeps the vCPU waiting.
          await vm.machine.virtio.find("balloon")?.command("set", { bytes: (SIZE_MIB - (i % 3)) << 20 });
          await new Promise((resolve) => setTimeout(resolve, Math.floor(chance() * RUN_MS)));
          const flag = new Int32Array(new SharedArrayBuffer(4));
          const stalled = i % 2 === 0 ? stall?.call("stall", { flag, timeoutMs: STALL_MS }) : undefined;
          if (stalled) await new Promise((resolve) => setTimeout(resolve, 5));
          await vm.pause();
          if (hasStaleStackPointer(vm)) {
            await stalled;
            await vm.resume();
            i--;
            continue;
          }
          const quiesced = vm.machine.virtio.quiesce();
          Atomics.store(flag, 0, 1);
          Atomics.notify(flag, 0);
          const reports = [...(await quiesced).values()];
          if (reports.some((report) => report.unreadDoorbells > 0)) met.unreadDoorbells++;
          if (reports.some((report) => report.unacknowledged)) met.unacknowledged++;
          await stalled;
          const saved = await vm.saveState();
          const { inventory } = vm.machine;
          expect(machineInventory(config, { occupants: saved.devices.virtio })).toEqual(inventory);
          const state = throughCodec(descriptorCodec, saved, inventory, { sockets: "passed" });
          expect(state).toEqual(saved);
          expect(throughCodec(codecOf(i), saved, inventory)).toEqual(withoutSockets(saved));
          await stall?.close();
          await vm.close({ handedOver: true });
          vm = await createVm(config, { incoming: { state } });
          await watch(vm);
          await vm.resume();
        }
        const before = progress(output);
        await until(
          () => {
            const now = progress(output);
            return ["blk", "net", "con", "rng", "vs"].every((name) => (now[name] ?? 0) > (before[name] ?? 0) + 20);
          },
          `progress of every device after the last move (${output.slice(-300)})`,
        );
        await stream.settle();
      } finally {
        stream?.close();
        await stall?.close();
        await vm.close();
        counter.close();
        await frames.close();
        await echoThread.release();
        for (const fd of [card, network, line]) fd.close();
        fds.close();
        block.close();
      }
      console.log(`${moves} moves met: ${JSON.stringify(met)}; ${JSON.stringify(progress(output))}`);
      expect(output).not.toMatch(/BAD|STALL|RESET/);
      expect(problems).toEqual([]);
      expect(counter.problem).toBeUndefined();
      if (maxNs === 0) expect(met.unreadDoorbells).toBeGreaterThanOrEqual(moves / 10);
      expect(met.unacknowledged).toBeGreaterThanOrEqual(moves / 10);
    },
    300_000,
  );
});
