import type { CpuTopology } from "@baton/core-kvm";
import type { VirtioDeviceDescription } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import { bool, list, struct, text, u32, type Vmstate, vmstate } from "@baton/migration/vmstate";
import type { VmConfig } from "../../config.js";
import { placeDevices } from "../device-places.js";
import { virtioSlot } from "../virtio-slots.js";

/** A device that a target must have in the same place. */
export interface InventoryDevice {
  id: string;
  /** What it is, as in `virtio-blk`. */
  model: string;
  /** Where its registers are, as in `virtio-mmio@00000000f0100000`: what its sections' names begin with. */
  place: string;
  gsi: number;
  queues: number;
  /** Whether it offers packed queues and in-order use. */
  packed: boolean;
  inOrder: boolean;
  /** Whether it is a slot with nothing in it. */
  empty: boolean;
}

/** What a machine is made of, as far as a target of its state must agree: plain data, which JSON carries as it is. */
export interface MachineInventory {
  /** `microvm`. */
  machine: string;
  /** Counts up when the machine changes for its guests. */
  version: number;
  vcpus: number;
  maxVcpus: number;
  topology: { sockets: number; dies: number; cores: number; threads: number };
  /** Features that were asked for by name, as in `avx=off`, in the order of their names. */
  cpuFeatures: string[];
  ram: { id: string; sizeMiB: number }[];
  serial: boolean;
  devices: InventoryDevice[];
}

const MACHINE = "microvm";
const VERSION = 1;
/** Before all that the sections of machines have. */
const FIRST = 16;

const topology = vmstate({
  name: "baton/topology",
  version: 1,
  fields: { sockets: u32, dies: u32, cores: u32, threads: u32 },
});
const ram = vmstate({ name: "baton/ram-block", version: 1, fields: { id: text, sizeMiB: u32 } });
const device = vmstate({
  name: "baton/device",
  version: 1,
  fields: {
    id: text,
    model: text,
    place: text,
    gsi: u32,
    queues: u32,
    packed: bool,
    inOrder: bool,
    empty: bool,
  },
}) satisfies Vmstate<InventoryDevice>;

/** Baton's section `baton/inventory`: the {@link MachineInventory}, before all other sections and before memory. */
export const inventoryVmstate = vmstate({
  name: "baton/inventory",
  version: 1,
  priority: FIRST,
  earlySetup: true,
  fields: {
    machine: text,
    version: u32,
    vcpus: u32,
    maxVcpus: u32,
    topology: struct(topology),
    cpuFeatures: list(text),
    ram: list(struct(ram)),
    serial: bool,
    devices: list(struct(device)),
  },
}) satisfies Vmstate<MachineInventory>;

/** What {@link machineInventory} takes beside the configuration. */
export interface InventoryOptions {
  /** The ids of what stands in each place, of a state that is going to be loaded: slots have what they had there. */
  readonly occupants?: readonly { readonly id: string }[];
  /** What stands in each place of a machine that is there; as the configuration says unless given. */
  readonly placed?: readonly VirtioDeviceDescription[];
}

/** What a machine of this configuration is made of. Throws `SLOT_LIMIT` and `DEVICE_LIMIT` as the machine does. */
export function machineInventory(config: VmConfig, options: InventoryOptions = {}): MachineInventory {
  const vcpus = config.vcpus ?? 1;
  const maxVcpus = config.maxVcpus ?? vcpus;
  const { sockets, dies, cores, threads }: CpuTopology = config.topology ?? {
    sockets: maxVcpus,
    dies: 1,
    cores: 1,
    threads: 1,
  };
  return {
    machine: MACHINE,
    version: VERSION,
    vcpus,
    maxVcpus,
    topology: { sockets, dies, cores, threads },
    cpuFeatures: [...(config.cpuFeatures ?? [])].map(([name, on]) => `${name}=${on ? "on" : "off"}`).sort(),
    ram: [{ id: config.memory.block?.id ?? config.memory.id ?? "pc.ram", sizeMiB: config.memory.sizeMiB }],
    serial: (config.devices ?? []).some(({ kind }) => kind === "serial"),
    devices: (options.placed ?? placedDevices(config, options.occupants)).map(describe),
  };
}

function placedDevices(config: VmConfig, occupants?: readonly { readonly id: string }[]): VirtioDeviceDescription[] {
  const descriptions = (config.devices ?? []).filter((each) => each.kind === "virtio");
  return placeDevices(descriptions, config.slots, occupants).map(({ description }) => description);
}

function describe(description: VirtioDeviceDescription, index: number): InventoryDevice {
  const { base, gsi } = virtioSlot(index);
  const { id, model, queues, rings, empty = false } = description;
  const place = `virtio-mmio@${base.toString(16).padStart(16, "0")}`;
  return { id, model, place, gsi, queues, packed: rings?.packed ?? true, inOrder: rings?.inOrder ?? false, empty };
}

/** Each difference, as in `devices[1]/queues is 4, here 1`; none where a state of `there` fits into `here`. */
export function inventoryDifferences(there: MachineInventory, here: MachineInventory): string[] {
  return differences("", there, here);
}

function differences(path: string, there: unknown, here: unknown): string[] {
  if (Object.is(there, here)) return [];
  if (!isObject(there) || !isObject(here)) {
    return [`${path} is ${JSON.stringify(there) ?? "missing"}, here ${JSON.stringify(here) ?? "missing"}`];
  }
  const names = [...new Set([...Object.keys(there), ...Object.keys(here)])];
  return names.flatMap((name) => {
    const at = Array.isArray(there) ? `${path}[${name}]` : path === "" ? name : `${path}/${name}`;
    return differences(at, there[name], here[name]);
  });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** Throws `STATE_MISMATCH` with each difference, in `details.differences` too. */
export function checkInventory(there: MachineInventory, here: MachineInventory): void {
  const found = inventoryDifferences(there, here);
  if (found.length === 0) return;
  throw new BatonError("STATE_MISMATCH", `The state is of another machine: ${found.join("; ")}`, {
    details: { differences: found },
  });
}
