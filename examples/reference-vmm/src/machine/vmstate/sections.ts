import {
  apicVmstate,
  type ChipsSections,
  type ClockSections,
  cpuCommonVmstate,
  cpuPlace,
  cpuVmstate,
  i8254Vmstate,
  i8259Vmstate,
  ioapicVmstate,
  joinChips,
  joinClock,
  joinVcpu,
  kvmclockVmstate,
  ownChipsVmstate,
  ownClockVmstate,
  ownVcpuVmstate,
  saveChips,
  saveClock,
  saveVcpu,
  type VcpuSections,
} from "@baton/core-kvm";
import {
  type SavedSockets,
  type VirtioSectionStates,
  type VirtioSections,
  virtioSectionsOf,
} from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import type { VmstateDescriptor } from "@baton/migration/vmstate";
import { type GedSection, gedVmstate, joinGed, saveGed } from "../../platform/vmstate/acpi-ged.js";
import { type I8042Section, i8042Vmstate, joinI8042, saveI8042 } from "../../platform/vmstate/i8042.js";
import {
  joinRtcSections,
  ownRtcVmstate,
  type RtcSections,
  rtcVmstate,
  saveRtcSections,
} from "../../platform/vmstate/rtc.js";
import {
  joinSerial,
  ownSerialVmstate,
  type SerialSections,
  saveSerial,
  serialVmstate,
} from "../../platform/vmstate/serial.js";
import type { MachineState } from "../state.js";
import { checkInventory, type InventoryDevice, inventoryVmstate, type MachineInventory } from "./inventory.js";

/** A section that a machine's stream has. */
export interface Section {
  readonly idstr: string;
  readonly instanceId: number;
  readonly descriptor: VmstateDescriptor;
}

/** A section with its state. */
export interface SectionState extends Section {
  readonly state: unknown;
}

/** A section's state as it came out of a stream. */
export type IncomingSection = Omit<SectionState, "descriptor">;

/** Options of {@link saveSections} and {@link sectionsOf}; both sides must agree. */
export interface SectionOptions {
  /** Whether sockets of the host go along; `left` unless given: then the guest's connections are reset. */
  readonly sockets?: SavedSockets;
}

/** Asks for the state of a section: gives it where a machine is saved, takes it where one is made. */
type Visit = (idstr: string, instanceId: number, descriptor: VmstateDescriptor) => void;

/** All sections of a machine, in the order of their registration. */
function visit(inventory: MachineInventory, options: SectionOptions, each: Visit): void {
  each("baton/inventory", 0, inventoryVmstate);
  for (const [index, apicId] of apicIds(inventory).entries()) {
    each("cpu_common", index, cpuCommonVmstate);
    each("cpu", index, cpuVmstate);
    each("baton/vcpu", index, ownVcpuVmstate);
    each("apic", apicId, apicVmstate);
  }
  each("ioapic", 0, ioapicVmstate);
  each("i8259", 0, i8259Vmstate);
  each("i8259", 1, i8259Vmstate);
  each("i8254", 0, i8254Vmstate);
  each("baton/chips", 0, ownChipsVmstate);
  each("kvmclock", 0, kvmclockVmstate);
  each("baton/clock", 0, ownClockVmstate);
  each("mc146818rtc", 0, rtcVmstate);
  each("baton/rtc", 0, ownRtcVmstate);
  each("serial", 0, serialVmstate);
  each("baton/serial", 0, ownSerialVmstate);
  each("acpi-ged", 0, gedVmstate);
  each("baton/i8042", 0, i8042Vmstate);
  for (const device of inventory.devices) {
    const sections = deviceSections(device, options);
    const { main, own } = sections.descriptors(device.queues);
    each(idstrOf(device, sections), 0, main);
    each(`baton/${idstrOf(device, sections)}`, 0, own);
  }
}

function apicIds({ topology, vcpus }: MachineInventory): number[] {
  return Array.from({ length: vcpus }, (_, index) => cpuPlace(topology, index).apicId);
}

function idstrOf({ place }: InventoryDevice, { name }: VirtioSections): string {
  return `${place}/${name}`;
}

function deviceSections({ id, model }: InventoryDevice, { sockets }: SectionOptions): VirtioSections {
  const sections = virtioSectionsOf(model, sockets);
  if (sections !== undefined) return sections;
  throw new BatonError("MIGRATION_BLOCKED", `Device '${id}': no sections are known for a ${model}`, {
    details: { device: id },
  });
}

/** The name of one section in maps and messages. */
const keyOf = (idstr: string, instanceId: number) => `${idstr} ${instanceId}`;

/**
 * The sections that a machine has, in the order of the stream: higher priorities first, then as they were registered.
 * Throws `MIGRATION_BLOCKED` for a device that has none.
 */
export function sectionsOf(inventory: MachineInventory, options: SectionOptions = {}): Section[] {
  const sections: Section[] = [];
  visit(inventory, options, (idstr, instanceId, descriptor) => sections.push({ idstr, instanceId, descriptor }));
  return sections.sort((a, b) => b.descriptor.priority - a.descriptor.priority);
}

/**
 * A machine's state as sections, in the order of the stream. Throws `STATE_MISMATCH` where the state has other vCPUs or
 * devices than the inventory, `MIGRATION_BLOCKED` as {@link sectionsOf}.
 */
export function saveSections(
  state: MachineState,
  inventory: MachineInventory,
  options: SectionOptions = {},
): SectionState[] {
  checkShape(state, inventory);
  const states = new Map<string, unknown>();
  const put = (idstr: string, instanceId: number, value: unknown) => states.set(keyOf(idstr, instanceId), value);
  put("baton/inventory", 0, inventory);
  for (const [index, vcpu] of state.vcpus.entries()) {
    const sections = saveVcpu(vcpu);
    put("cpu_common", index, sections.common);
    put("cpu", index, sections.cpu);
    put("baton/vcpu", index, sections.own);
    put("apic", vcpu.apicId, sections.apic);
  }
  const chips = saveChips(state);
  put("ioapic", 0, chips.ioapic);
  put("i8259", 0, chips.picMaster);
  put("i8259", 1, chips.picSlave);
  put("i8254", 0, chips.pit);
  put("baton/chips", 0, chips.own);
  const clock = saveClock(state.clock);
  put("kvmclock", 0, clock.kvmclock);
  put("baton/clock", 0, clock.own);
  const { uart, rtc, ged, i8042, virtio } = state.devices;
  const time = saveRtcSections(rtc);
  put("mc146818rtc", 0, time.rtc);
  put("baton/rtc", 0, time.own);
  const serial = saveSerial(uart);
  put("serial", 0, serial.serial);
  put("baton/serial", 0, serial.own);
  put("acpi-ged", 0, saveGed(ged));
  put("baton/i8042", 0, saveI8042(i8042));
  for (const [i, device] of inventory.devices.entries()) {
    const sections = deviceSections(device, options);
    const { main, own } = sections.save(device.id, (virtio[i] as (typeof virtio)[number]).state);
    put(idstrOf(device, sections), 0, main);
    put(`baton/${idstrOf(device, sections)}`, 0, own);
  }
  return sectionsOf(inventory, options).map((section) => ({
    ...section,
    state: states.get(keyOf(section.idstr, section.instanceId)),
  }));
}

function checkShape({ vcpus, devices }: MachineState, inventory: MachineInventory): void {
  const there = [...vcpus.map(({ apicId }) => apicId), ...devices.virtio.map(({ id }) => `'${id}'`)].join(", ");
  const here = [...apicIds(inventory), ...inventory.devices.map(({ id }) => `'${id}'`)].join(", ");
  if (there === here) return;
  throw new BatonError(
    "STATE_MISMATCH",
    `The state has APIC ids and virtio devices [${there}], the inventory has [${here}]`,
  );
}

/**
 * The machine's state that sections are of, for a machine of this inventory; what the states of devices mean is checked
 * when they are loaded. Errors: `STATE_SECTION` for a section that is missing, unknown or there twice, `STATE_MISMATCH`
 * for the state of another machine, `STATE_INVALID` and `DEVICE_STATE` for states that make none.
 */
export function joinSections(
  sections: readonly IncomingSection[],
  inventory: MachineInventory,
  options: SectionOptions = {},
): MachineState {
  const states = collect(sections, inventory, options);
  const take = <T>(idstr: string, instanceId = 0) => states.get(keyOf(idstr, instanceId)) as T;
  checkInventory(take("baton/inventory"), inventory);
  const chips: ChipsSections = {
    ioapic: take("ioapic"),
    picMaster: take("i8259", 0),
    picSlave: take("i8259", 1),
    pit: take("i8254"),
    own: take("baton/chips"),
  };
  const clock: ClockSections = { kvmclock: take("kvmclock"), own: take("baton/clock") };
  const rtc: RtcSections = { rtc: take("mc146818rtc"), own: take("baton/rtc") };
  const serial: SerialSections = { serial: take("serial"), own: take("baton/serial") };
  return {
    vcpus: apicIds(inventory).map((apicId, index) => {
      const own = take<VcpuSections["own"]>("baton/vcpu", index);
      if (own.apicId !== apicId) {
        throw new BatonError("STATE_MISMATCH", `baton/vcpu ${index}: its APIC id is ${own.apicId}, here ${apicId}`);
      }
      const vcpu = { cpu: take<VcpuSections["cpu"]>("cpu", index), apic: take<VcpuSections["apic"]>("apic", apicId) };
      return within(`vCPU ${index}`, () => joinVcpu({ ...vcpu, own }));
    }),
    ...joinChips(chips),
    clock: joinClock(clock),
    devices: {
      uart: joinSerial(serial),
      rtc: joinRtcSections(rtc),
      i8042: joinI8042(take<I8042Section>("baton/i8042")),
      ged: joinGed(take<GedSection>("acpi-ged")),
      virtio: inventory.devices.map((device) => {
        const kind = deviceSections(device, options);
        const idstr = idstrOf(device, kind);
        const parts: VirtioSectionStates = { main: take(idstr), own: take(`baton/${idstr}`) };
        return { id: device.id, state: kind.join(device.id, parts) };
      }),
    },
  };
}

function collect(sections: readonly IncomingSection[], inventory: MachineInventory, options: SectionOptions) {
  const missing = new Set(sectionsOf(inventory, options).map(({ idstr, instanceId }) => keyOf(idstr, instanceId)));
  const states = new Map<string, unknown>();
  for (const { idstr, instanceId, state } of sections) {
    const key = keyOf(idstr, instanceId);
    if (states.has(key)) throw sectionError(idstr, instanceId, "is there twice");
    if (!missing.delete(key)) throw sectionError(idstr, instanceId, "is none of this machine's");
    states.set(key, state);
  }
  const [first] = missing;
  if (first === undefined) return states;
  const at = first.lastIndexOf(" ");
  throw sectionError(first.slice(0, at), Number(first.slice(at + 1)), "is missing");
}

function sectionError(section: string, instanceId: number, problem: string): BatonError {
  return new BatonError("STATE_SECTION", `Section '${section}', instance ${instanceId}, ${problem}`, {
    details: { section, instanceId },
  });
}

/** Puts what is being joined before the message of an invalid state. */
function within<T>(what: string, join: () => T): T {
  try {
    return join();
  } catch (error) {
    if (!BatonError.is(error)) throw error;
    throw new BatonError("STATE_INVALID", `${what}: ${error.message}`, { cause: error });
  }
}
