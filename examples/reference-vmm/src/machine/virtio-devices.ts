import { type Bus, DeviceThread, type Vm } from "@baton/core-kvm";
import {
  type OpenOrFind,
  type QuiesceReport,
  type VirtioDeviceDescription,
  type VirtioEvent,
  VirtioMmioDevice,
  type VirtioState,
} from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import { DEFAULT_POLL_MAX_NS, type IothreadConfig, type SlotsConfig } from "../config.js";
import { type DevicePlace, placeDevices } from "./device-places.js";
import { HotplugSlots } from "./hotplug-slots.js";
import { rootDisk } from "./root-disk.js";
import { type VirtioSlot, virtioSlot } from "./virtio-slots.js";

/** A virtio device's state with the device that it is of. */
export interface NamedVirtioState {
  readonly id: string;
  readonly state: VirtioState;
}

/** What a machine's virtio devices are made of. */
export interface VirtioDevicesOptions {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  readonly bus: Bus;
  readonly descriptions: readonly VirtioDeviceDescription[];
  readonly iothreads: readonly IothreadConfig[];
  /** Places for devices that are plugged in and out; none unless given. */
  readonly slots?: SlotsConfig;
  /** The kernel's command line, which says what disk is the root. */
  readonly cmdline: string;
  /** Where descriptors come from; opened unless given. */
  readonly openOrFind?: OpenOrFind;
  /** The states that are going to be loaded; `later` where they are not known yet. */
  readonly incoming?: readonly NamedVirtioState[] | "later";
  readonly onEvent: (device: string, event: VirtioEvent) => void;
  readonly onFailed: (error: BatonError) => void;
}

type PlacedDevice = DevicePlace & { readonly device: VirtioMmioDevice };

/** The virtio devices of a machine, with the threads that serve them. */
export class VirtioDevices {
  readonly iothreads: ReadonlyMap<string, DeviceThread>;
  /** The slots for devices that are plugged in and out. */
  readonly hotplug: HotplugSlots;
  readonly #all: readonly VirtioMmioDevice[];
  readonly #shared: DeviceThread | undefined;
  #quiesced = false;

  private constructor(
    options: VirtioDevicesOptions,
    places: readonly PlacedDevice[],
    iothreads: ReadonlyMap<string, DeviceThread>,
    shared: DeviceThread | undefined,
  ) {
    this.#all = places.map(({ device }) => device);
    this.iothreads = iothreads;
    this.#shared = shared;
    this.hotplug = new HotplugSlots(places, rootDisk(options.cmdline, places), {
      openOrFind: openOrFindOf(options),
      devices: () => this.#all,
      iothreads,
    });
  }

  /** Makes the devices and puts them on the bus. What was half made is undone on failure. */
  static async start(options: VirtioDevicesOptions): Promise<VirtioDevices> {
    const placed: PlacedDevice[] = [];
    const iothreads = new Map<string, DeviceThread>();
    let shared: DeviceThread | undefined;
    try {
      const states = options.incoming === "later" ? undefined : options.incoming;
      const places = placeDevices(options.descriptions, options.slots, states);
      for (const { id, polling } of options.iothreads) {
        if (iothreads.has(id)) throw new BatonError("DUPLICATE_ID", `There are two iothreads '${id}'`);
        iothreads.set(id, await DeviceThread.start({ polling: polling ?? { maxNs: DEFAULT_POLL_MAX_NS } }));
      }
      if (places.some(({ description }) => description.iothread === undefined)) shared = await DeviceThread.shared();
      for (const [index, place] of places.entries()) {
        const { id, iothread } = place.description;
        if (placed.some(({ device }) => device.id === id)) {
          throw new BatonError("DUPLICATE_ID", `There are two devices '${id}'`);
        }
        const thread = iothread === undefined ? shared : iothreads.get(iothread);
        if (thread === undefined) {
          throw new BatonError("IOTHREAD_UNKNOWN", `Device '${id}': there is no iothread '${iothread}'`);
        }
        const device: VirtioMmioDevice = await VirtioMmioDevice.start(place.description, {
          vm: options.vm,
          memory: options.memory,
          thread,
          ...virtioSlot(index),
          openOrFind: openOrFindOf(options),
          incoming: options.incoming !== undefined,
          onEvent: (event) => options.onEvent(device.id, event),
          onFailed: options.onFailed,
        });
        placed.push({ ...place, device });
        for (const busDevice of device.busDevices) options.bus.add(busDevice);
      }
      return new VirtioDevices(options, placed, iothreads, shared);
    } catch (error) {
      await new VirtioDevices(options, placed, iothreads, shared).close();
      throw error;
    }
  }

  /** The devices that there are at the moment. */
  get devices(): readonly VirtioMmioDevice[] {
    return this.#all.filter(({ description }) => !description.empty);
  }

  /** What stands in each place, empty slots as well. */
  get descriptions(): readonly VirtioDeviceDescription[] {
    return this.#all.map(({ description }) => description);
  }

  /** Where the devices stand, and the empty slots. */
  get slots(): readonly VirtioSlot[] {
    return this.#all.map((_, index) => virtioSlot(index));
  }

  /** The device with this id. */
  find(id: string): VirtioMmioDevice | undefined {
    return this.devices.find((device) => device.id === id);
  }

  /** With the vCPUs paused: ends all I/O of all devices; does nothing when that is done. */
  async quiesce(): Promise<ReadonlyMap<string, QuiesceReport>> {
    if (this.#quiesced) return new Map();
    const reports = await Promise.all(
      this.#all.map(async (device): Promise<[string, QuiesceReport]> => [device.id, await device.quiesce()]),
    );
    this.#quiesced = true;
    return new Map(reports);
  }

  /** The states of the quiesced devices, and of empty slots. */
  async save(): Promise<NamedVirtioState[]> {
    return Promise.all(this.#all.map(async (device) => ({ id: device.id, state: await device.save() })));
  }

  /** Takes saved states. Fails with `STATE_MISMATCH` where the devices are others. */
  async load(states: readonly NamedVirtioState[]): Promise<void> {
    const here = this.#all.map(({ id }) => id).join(", ");
    const there = states.map(({ id }) => id).join(", ");
    if (here !== there) {
      throw new BatonError("STATE_MISMATCH", `The state has virtio devices [${there}], this machine has [${here}]`);
    }
    this.#quiesced = true;
    await Promise.all(this.#all.map((device, i) => device.load((states[i] as NamedVirtioState).state)));
  }

  /** Has all devices take what only one machine may have; all do, or none. Throws `IMAGE_LOCKED`. */
  activate(): void {
    const active: VirtioMmioDevice[] = [];
    try {
      for (const device of this.#all) {
        if (device.active) continue;
        device.activate();
        active.push(device);
      }
    } catch (error) {
      for (const device of active) device.inactivate();
      throw error;
    }
  }

  /** Has the quiesced devices give that to another machine. */
  inactivate(): void {
    for (const device of this.#all) device.inactivate();
  }

  /** Goes on after a quiesce or load. */
  async resume(): Promise<void> {
    if (!this.#quiesced) return;
    this.#quiesced = false;
    await Promise.all(this.#all.map((device) => device.resume()));
  }

  /** Resets all devices, as the machine's reset does. */
  async reset(): Promise<void> {
    for (const device of this.#all) await device.reset();
  }

  async close(handedOver = false): Promise<void> {
    for (const device of this.#all) await device.close(handedOver);
    for (const thread of this.iothreads.values()) await thread.release();
    await this.#shared?.release();
  }
}

function openOrFindOf({ openOrFind }: VirtioDevicesOptions): OpenOrFind {
  return openOrFind ?? ((_name, _id, open) => open());
}
