import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CpuidEntry } from "@baton/core-kvm";
import { virtioBalloon, virtioBlk, virtioConsole, virtioNet, virtioRng, virtioVsock } from "@baton/devices-virtio";
import { guestPath } from "@baton/guests";
import { BatonError, liveFds } from "@baton/linux";
import { qemuCodec } from "@baton/migration/vmstate";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { describeKvm } from "../../../test/describe-kvm.js";
import { rounds } from "../../../test/rounds.js";
import {
  createVm,
  customDevice,
  type IncomingSection,
  inventoryDifferences,
  joinSections,
  type MachineInventory,
  type MachineState,
  machineInventory,
  migrationBlockers,
  saveSections,
  sectionsOf,
  serial,
  type VmConfig,
} from "../src/index.js";
import { seededRandom } from "./support/random.js";
import { stateCodecs, throughCodec } from "./support/state-codecs.js";

const SEED = 20261122;
const directory = mkdtempSync(join(tmpdir(), "baton-sections-"));
const image = join(directory, "disk.img");
writeFileSync(image, new Uint8Array(1 << 20));

const config: VmConfig = {
  memory: { sizeMiB: 16 },
  vcpus: 2,
  maxVcpus: 4,
  topology: { sockets: 1, dies: 1, cores: 2, threads: 2 },
  boot: { kernel: guestPath("hello") },
  devices: [
    serial(),
    virtioBlk({ id: "disk", path: image }),
    virtioConsole({ id: "console", ports: [{ id: "port", console: false, backend: { kind: "null" } }] }),
    virtioRng({ id: "entropy" }),
    virtioBalloon({ id: "balloon" }),
    virtioVsock({ id: "sockets", guestCid: 5, path: join(directory, "vs") }),
  ],
  slots: { disks: 2, nics: 1 },
};

describeKvm("the sections of a machine", () => {
  let state: MachineState;
  let inventory: MachineInventory;
  beforeAll(async () => {
    await using vm = await createVm(config);
    state = await vm.saveState();
    ({ inventory } = vm.machine);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it("are refused by a host whose CPU lacks what the guest has been told of, by name", async () => {
    const told = (entry: CpuidEntry) =>
      entry.function === 0x8000_0001 ? { ...entry, ecx: entry.ecx | (1 << 16) } : entry;
    const vcpus = state.vcpus.map((vcpu) => ({ ...vcpu, cpuid: vcpu.cpuid.map(told) }));
    const incoming = { state: { ...state, vcpus } };
    const error = {
      code: "CPU_FEATURE_UNSUPPORTED",
      message: expect.stringMatching(/lacks CPU features that the guest has: fma4/),
    };
    await expect(createVm(config, { incoming })).rejects.toMatchObject(error);
  });

  it.each(stateCodecs)("give its state back in $name", (codec) => {
    expect(throughCodec(codec, state, inventory)).toEqual(state);
  });

  it("stand in the order of their priorities, each once, the inventory before all", () => {
    const sections = sectionsOf(inventory);
    const priorities = sections.map(({ descriptor }) => descriptor.priority);
    expect(priorities).toEqual([...priorities].sort((a, b) => b - a));
    expect(sections[0]).toMatchObject({ idstr: "baton/inventory", descriptor: { earlySetup: true } });
    const names = sections.map(({ idstr, instanceId }) => `${idstr} ${instanceId}`);
    expect(new Set(names).size).toBe(names.length);
    expect(names.slice(1, 6)).toEqual(["apic 0", "apic 1", "cpu_common 0", "cpu 0", "baton/vcpu 0"]);
    expect(names).toContain("virtio-mmio@00000000f0100000/virtio-blk 0");
    expect(names).toContain("baton/virtio-mmio@00000000f0100200/virtio-blk 0");
    for (const { idstr } of sections) expect(Buffer.byteLength(idstr)).toBeLessThanOrEqual(127);
    expect(saveSections(state, inventory).map(({ idstr }) => idstr)).toEqual(sections.map(({ idstr }) => idstr));
  });

  it("must all be there, none twice, and none unknown", () => {
    const sections: IncomingSection[] = saveSections(state, inventory);
    const refuses = (incoming: IncomingSection[], section: string, instanceId: number, problem: string) =>
      expect(() => joinSections(incoming, inventory)).toThrow(
        expect.objectContaining({
          code: "STATE_SECTION",
          message: expect.stringContaining(problem),
          details: { section, instanceId },
        }),
      );
    for (const missing of sections) {
      const rest = sections.filter((each) => each !== missing);
      refuses(rest, missing.idstr, missing.instanceId, "is missing");
    }
    const [first] = sections as [IncomingSection];
    refuses([...sections, first], first.idstr, 0, "is there twice");
    refuses([...sections, { idstr: "cpu", instanceId: 2, state: {} }], "cpu", 2, "is none of this machine's");
    refuses([...sections, { idstr: "hpet", instanceId: 0, state: {} }], "hpet", 0, "is none of this machine's");
  });

  it("are of one machine: every difference is named", () => {
    const other: MachineInventory = {
      ...inventory,
      version: 2,
      cpuFeatures: ["avx=off"],
      ram: [{ id: "pc.ram", sizeMiB: 32 }],
      devices: inventory.devices.map((device, i) => (i === 0 ? { ...device, id: "other", queues: 4 } : device)),
    };
    expect(inventoryDifferences(other, inventory)).toEqual([
      "version is 2, here 1",
      'cpuFeatures[0] is "avx=off", here missing',
      "ram[0]/sizeMiB is 32, here 16",
      'devices[0]/id is "other", here "disk"',
      "devices[0]/queues is 4, here 1",
    ]);
    expect(inventoryDifferences(inventory, inventory)).toEqual([]);
    const sections = saveSections(state, inventory).map((section) =>
      section.idstr === "baton/inventory" ? { ...section, state: other } : section,
    );
    expect(() => joinSections(sections, inventory)).toThrow(
      expect.objectContaining({ code: "STATE_MISMATCH", message: expect.stringContaining("ram[0]/sizeMiB is 32") }),
    );
    const mismatch = expect.objectContaining({ code: "STATE_MISMATCH" });
    expect(() => saveSections({ ...state, vcpus: [] }, inventory)).toThrow(mismatch);
    expect(JSON.parse(JSON.stringify(inventory))).toEqual(inventory);
    expect(machineInventory(config)).toEqual(inventory);
  });

  it("are known for all but what the embedder made", () => {
    expect(migrationBlockers(config)).toEqual([]);
    const range = { space: "pio" as const, base: 0x700n, length: 1 };
    const handler = { read: () => 0, write: () => {} };
    const own = customDevice({ name: "mine", ranges: [range], handler: { thread: "embedder", handler } });
    const foreign = { ...virtioRng({ id: "theirs" }), model: "virtio-scmi", module: "file:///none" };
    const card = virtioNet({ id: "card", backend: { kind: "tap" } });
    expect(migrationBlockers({ devices: [own, foreign, card] })).toEqual([
      { device: "mine", reason: expect.stringContaining("embedder") },
      { device: "theirs", reason: expect.stringContaining("virtio-scmi") },
    ]);
    expect(() => sectionsOf(machineInventory({ ...config, devices: [foreign] }))).toThrow(
      expect.objectContaining({ code: "MIGRATION_BLOCKED" }),
    );
  });

  it("of a hostile stream are refused with an error of Baton's, or make a machine", async () => {
    const random = seededRandom(SEED);
    const pick = (count: number) => Math.floor(random() * count);
    const encoded = saveSections(state, inventory).map((section) => ({
      ...section,
      bytes: qemuCodec.encode<unknown>(section.descriptor, section.state),
    }));
    const met = { decode: 0, join: 0, load: 0, accepted: 0 };
    const fds = liveFds().length;
    const count = rounds({ quick: 400, full: 5000 });
    for (let i = 0; i < count; i++) {
      const victim = pick(encoded.length);
      let stage: keyof typeof met = "decode";
      try {
        const sections = encoded.map(({ idstr, instanceId, descriptor, bytes, state: sound }, at) => {
          if (at !== victim) return { idstr, instanceId, state: sound };
          const bad = bytes.slice(0, random() < 0.1 ? pick(bytes.length) : bytes.length);
          for (let flips = 1 + pick(3); flips > 0 && bad.length > 0; flips--) {
            // Most of a device's section is room for queues that it does not have.
            bad[pick(Math.min(bad.length, 400))] = random() < 0.5 ? 0xff : pick(256);
          }
          return { idstr, instanceId, state: qemuCodec.decode<unknown>(descriptor, bad) };
        });
        stage = "join";
        const joined = joinSections(sections, inventory);
        stage = "load";
        // A machine for each would take minutes.
        if (i % 8 === 0) {
          const vm = await createVm(config, { incoming: { state: joined } });
          await vm.close();
        }
        met.accepted++;
      } catch (error) {
        if (!BatonError.is(error)) throw error;
        met[stage]++;
      }
    }
    console.log(`${count} spoilt states (seed ${SEED}): ${JSON.stringify(met)}`);
    expect(met.decode).toBeGreaterThan(0);
    expect(met.join).toBeGreaterThan(0);
    expect(liveFds().length).toBe(fds);
  }, 120_000);
});
