import {
  type ApicSection,
  apicVmstate,
  type CpuSection,
  cpuCommonVmstate,
  cpuVmstate,
  i8254Vmstate,
  i8259Vmstate,
  ioapicVmstate,
  kvmclockVmstate,
} from "@baton/core-kvm";
import { virtioSectionsOf } from "@baton/devices-virtio";
import { qemuCodec, type Vmstate, type VmstateDescriptor } from "@baton/migration/vmstate";
import { describe, expect, it } from "@jest/globals";
import { gedVmstate } from "../src/platform/vmstate/acpi-ged.js";
import { rtcVmstate } from "../src/platform/vmstate/rtc.js";
import { serialVmstate } from "../src/platform/vmstate/serial.js";
import { readQemuStream } from "./support/qemu-stream.js";

/** Sections of QEMU's for which a Baton machine has nothing. */
const FOREIGN = ["timer", "fw_cfg", "kvm-tpr-opt", "globalstate"];

/** EFER.LMA. */
const LONG_MODE = 1n << 10n;

/** What the test looks at of a disk. */
interface BlkSection {
  status: number;
  queues: { size: number; lastAvail: number }[];
  core: { extra?: { transport: { state?: { features: number[] } } }; packed?: object };
}

const platform = new Map<string, VmstateDescriptor>(
  [
    cpuCommonVmstate,
    cpuVmstate,
    apicVmstate,
    ioapicVmstate,
    i8259Vmstate,
    i8254Vmstate,
    kvmclockVmstate,
    rtcVmstate,
    serialVmstate,
    gedVmstate,
  ].map((descriptor) => [descriptor.name, descriptor]),
);

/** How many queues QEMU's devices of the fixture have. */
function queuesOf(stream: string, name: string): number {
  if (name === "virtio-blk") return 2;
  if (name === "virtio-console") return stream === "acpi" ? 64 : 10;
  return { "virtio-rng": 1, "virtio-balloon": 3, "virtio-net": 3 }[name] ?? 0;
}

function descriptorOf(stream: string, idstr: string): VmstateDescriptor {
  const name = idstr.slice(idstr.indexOf("/") + 1);
  const sections = virtioSectionsOf(name);
  const descriptor = sections?.descriptors(queuesOf(stream, name)).main ?? platform.get(idstr);
  if (descriptor === undefined) throw new Error(`Baton does not know ${idstr}`);
  return descriptor;
}

/** Zeros where QEMU has the state of packed queues that the device does not have: Baton writes nothing there. */
function blanked(stream: string, idstr: string, payload: Uint8Array): Uint8Array {
  const name = "virtio/packed_virtqueues";
  const at = Buffer.from(payload).indexOf(name);
  if (at < 0) return payload;
  const queues = at + name.length + 4;
  const used = queuesOf(stream, idstr.slice(idstr.indexOf("/") + 1));
  return payload.slice().fill(0, queues + used * 10, queues + 1024 * 10);
}

describe.each(["split", "packed", "acpi"] as const)("QEMU's stream %s", (stream) => {
  const sections = readQemuStream(stream).filter(({ idstr }) => !FOREIGN.includes(idstr));

  it.each(sections)("$idstr $instanceId is read to its last byte, and written as it was", (section) => {
    const { idstr, version, payload } = section;
    const descriptor = descriptorOf(stream, idstr);
    expect(descriptor.version).toBe(version);
    const state = qemuCodec.decode(descriptor, payload);
    expect(Buffer.from(qemuCodec.encode(descriptor, state)).equals(blanked(stream, idstr, payload))).toBe(true);
  });

  it("says what its machine was", () => {
    const decode = <S>(descriptor: VmstateDescriptor, idstr: string, instanceId = 0) => {
      const section = sections.find((each) => each.idstr === idstr && each.instanceId === instanceId);
      return qemuCodec.decode(descriptor as Vmstate<S>, section?.payload ?? new Uint8Array());
    };
    const cpu = decode<CpuSection>(cpuVmstate, "cpu");
    expect(cpu.efer & LONG_MODE).toBe(LONG_MODE);
    expect(cpu.cr0 & 1n).toBe(1n);
    expect(decode<ApicSection>(apicVmstate, "apic", 1).id).toBe(1);
    if (stream === "acpi") return;
    const blk = sections.find(({ idstr }) => idstr.endsWith("/virtio-blk"));
    const descriptor = virtioSectionsOf("virtio-blk")?.descriptors(2).main as Vmstate<BlkSection>;
    const main = qemuCodec.decode(descriptor, blk?.payload ?? new Uint8Array());
    // What the guest printed of the disk.
    const agreed = stream === "split" ? 0x130000204n : 0x530000204n;
    const [low = 0, high = 0] = main.core.extra?.transport.state?.features ?? [];
    expect((BigInt(high) << 32n) | BigInt(low)).toBe(agreed);
    expect(main.status).toBe(0xf);
    expect(main.queues[0]).toMatchObject({ size: 256, lastAvail: expect.any(Number) });
    expect(main.core.packed === undefined).toBe(stream === "split");
  });

  it("has each section that Baton shares", () => {
    const shared = [...platform.keys()].filter(
      (name) => (name !== "acpi-ged" || stream === "acpi") && (name !== "kvmclock" || stream !== "packed"),
    );
    expect(sections.map(({ idstr }) => idstr)).toEqual(expect.arrayContaining(shared));
    expect(sections.filter(({ idstr }) => idstr.includes("virtio"))).toHaveLength(5);
  });
});
