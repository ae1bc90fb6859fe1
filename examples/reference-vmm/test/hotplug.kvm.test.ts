import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeviceThread } from "@baton/core-kvm";
import { type BlkStatisticsSnapshot, type NetStatistics, virtioBlk, virtioNet } from "@baton/devices-virtio";
import { guestPath, parseVirtloadCounters, parseVirtloadFindings, virtloadCmdline } from "@baton/guests";
import { type Fd, liveFds, socketpair, threadCount } from "@baton/linux";
import { RamBlock } from "@baton/memory";
import { afterAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import { createVm, machineInventory, serial, type VirtualMachine, type VmConfig } from "../src/index.js";
import { codecOf, throughCodec } from "./support/state-codecs.js";
import { until } from "./support/until.js";

const IMAGE_BYTES = 4 << 20;
const SIZE_MIB = 48;
const echoModule = new URL("./support/echo-frames.mjs", import.meta.url).href;
const directory = mkdtempSync(join(tmpdir(), "baton-hotplug-"));
afterAll(() => rmSync(directory, { recursive: true }));

function image(name: string): string {
  const path = join(directory, name);
  writeFileSync(path, new Uint8Array(IMAGE_BYTES));
  return path;
}

/** Locks on files that this process holds, by what the kernel says. */
const locks = () =>
  readFileSync("/proc/locks", "utf8")
    .split("\n")
    .filter((line) => line.includes("OFDLCK")).length;

/** A network of one card, which sends back what comes. */
class Echo {
  readonly fd: number;
  readonly #ends: readonly Fd[];
  readonly #close: () => Promise<void>;

  private constructor(ends: readonly [Fd, Fd], close: () => Promise<void>) {
    this.fd = ends[0].raw;
    this.#ends = ends;
    this.#close = close;
  }

  static async open(thread: DeviceThread): Promise<Echo> {
    const ends = socketpair({ packets: true, nonblock: true });
    const options = { fd: ends[1].raw };
    const service = await thread.serve({ module: echoModule, factory: "echoFrames", options });
    return new Echo(ends, () => service.close());
  }

  async close(): Promise<void> {
    await this.#close();
    for (const end of this.#ends) end.close();
  }
}

/** A guest that uses every disk and card that comes. */
class LoadGuest {
  output = "";
  readonly problems: string[] = [];
  readonly deleted: string[] = [];
  #seen = 0;

  config(more: Partial<VmConfig> = {}, words = {}): VmConfig {
    const options = { plug: 1, burst: 200, print: 100_000_000, blkblocks: 512, ...words } as const;
    return {
      memory: { sizeMiB: SIZE_MIB },
      boot: { kernel: guestPath("virtload"), cmdline: virtloadCmdline(options) },
      discovery: "cmdline",
      slots: { disks: 2, nics: 1, nicBackend: "socket" },
      devices: [serial({ onOutput: (bytes) => (this.output += Buffer.from(bytes).toString("latin1")) })],
      ...more,
    };
  }

  watch(vm: VirtualMachine): void {
    vm.onEvent((event) => {
      if (event.type === "device-deleted") this.deleted.push(event.device);
      if (event.type === "internal-error" || event.type === "device-needs-reset") {
        this.problems.push(JSON.stringify(event));
      }
    });
  }

  /** Waits for what the guest tells next of plugs and cables, in any order. */
  async says(...texts: string[]): Promise<void> {
    await until(
      () => {
        const found = parseVirtloadFindings(this.output).map(({ kind, text }) => `${kind} ${text}`);
        const places = texts.map((text) => found.indexOf(text, this.#seen));
        if (places.includes(-1)) return false;
        this.#seen = Math.max(...places) + 1;
        return true;
      },
      `${texts.join(", ")} (${this.output.slice(-300)})`,
    );
  }

  /** Waits until the guest has done more with a device. */
  async works(name: string): Promise<void> {
    const count = () => parseVirtloadCounters(this.output).at(-1)?.[name] ?? 0;
    const before = count();
    await until(() => count() > before + 20, `progress of ${name} (${this.output.slice(-300)})`);
  }
}

describeKvm("devices that come and go", () => {
  const count = rounds({ quick: 10, full: 200 });

  it.each([false, true])(
    `${count} times plugged in, used under load and unplugged, with the guest paused: %p, leave nothing behind`,
    async (paused) => {
      const guest = new LoadGuest();
      const thread = await DeviceThread.start();
      const path = image(`soak-${paused}.img`);
      const vm = await createVm(guest.config());
      guest.watch(vm);
      try {
        await vm.start();
        await until(() => guest.output.includes("virtload"), "the guest");
        const before = { fds: 0, threads: 0, locks: 0, regions: 0 };
        const measure = () => ({
          fds: liveFds().length,
          threads: threadCount(),
          locks: locks(),
          regions: vm.machine.memory.describe().regions.length,
        });
        for (let round = 0; round < count; round++) {
          const echo = await Echo.open(thread);
          const change = async (work: () => Promise<void>) => {
            if (paused) await vm.pause();
            await work();
            if (paused) await vm.resume();
          };
          await change(async () => {
            await vm.attach(virtioBlk({ id: "disk", path, direct: false }), { slot: round % 2 });
            await vm.attach(virtioNet({ id: "card", backend: { kind: "socket", fds: [echo.fd] } }));
          });
          const name = round % 2 === 0 ? "blk" : "blk1";
          await guest.says(`PLUG ${name} blocks=512`, "LINK net up=1");
          await Promise.all([guest.works(name), guest.works("net")]);
          const disk = (await vm.machine.virtio.find("disk")?.command("statistics")) as BlkStatisticsSnapshot;
          const card = (await vm.machine.virtio.find("card")?.command("statistics")) as NetStatistics;
          // A new device counts from nothing.
          expect(disk.write.operations + disk.read.operations).toBeGreaterThan(0);
          expect(disk.write.failed + disk.read.failed).toBe(0);
          expect(card.transmit.packets).toBeGreaterThan(0);
          await change(async () => {
            await vm.detach("disk");
            await vm.detach("card");
          });
          await guest.says(`PLUG ${name} blocks=0`, "LINK net up=0");
          expect(vm.machine.virtio.hotplug.info.map(({ device }) => device)).toEqual([null, null, null]);
          await echo.close();
          if (round === 0) Object.assign(before, measure());
          else expect(measure()).toEqual(before);
        }
        expect(guest.deleted).toEqual(Array(count).fill(["disk", "card"]).flat());
      } finally {
        await vm.close();
        await thread.release();
      }
      expect(guest.output).not.toMatch(/BAD|STALL/);
      expect(guest.problems).toEqual([]);
    },
    120_000 + count * 5000,
  );

  it("move to another machine with the state, in the slots that they had", async () => {
    const guest = new LoadGuest();
    const path = image("moved.img");
    const block = RamBlock.create({ id: "ram", size: BigInt(SIZE_MIB) << 20n });
    const config = guest.config({ memory: { sizeMiB: SIZE_MIB, block } });
    let vm = await createVm(config);
    try {
      await vm.start();
      await until(() => guest.output.includes("virtload"), "the guest");
      await vm.attach(virtioBlk({ id: "disk", path }), { slot: 1 });
      await guest.works("blk1");
      await vm.pause();
      const saved = await vm.saveState();
      const { inventory } = vm.machine;
      const state = throughCodec(codecOf(0), saved, inventory);
      expect(state).toEqual(saved);
      await vm.close({ handedOver: true });
      const devices = [...(config.devices ?? []), virtioBlk({ id: "disk", path })];
      vm = await createVm({ ...config, devices }, { incoming: { state } });
      guest.watch(vm);
      expect(vm.machine.inventory).toEqual(inventory);
      expect(machineInventory({ ...config, devices }, { occupants: saved.devices.virtio })).toEqual(inventory);
      expect(vm.machine.virtio.hotplug.info.map(({ device }) => device)).toEqual([null, "disk", null]);
      await vm.resume();
      await guest.works("blk1");
      await vm.detach("disk");
      await guest.says("PLUG blk1 blocks=0");
    } finally {
      await vm.close();
      block.close();
    }
    expect(guest.output).not.toMatch(/BAD|STALL/);
    expect(guest.problems).toEqual([]);
  });
});
