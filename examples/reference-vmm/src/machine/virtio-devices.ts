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
import { DEFAULT_POLL_MAX_NS, type IothreadConfig } from "../config.js";
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
  /** Where descriptors come from; opened unless given. */
  readonly openOrFind?: OpenOrFind;
  /** Whether states are going to be loaded. */
  readonly incoming: boolean;
  readonly onEvent: (device: string, event: VirtioEvent) => void;
  readonly onFailed: (error: BatonError) => void;
}

/** The virtio devices of a machine, with the threads that serve them. */
export class VirtioDevices {
  readonly devices: readonly VirtioMmioDevice[];
  readonly iothreads: ReadonlyMap<string, DeviceThread>;
  readonly #shared: DeviceThread | undefined;
  #quiesced = false;

  private constructor(
    devices: readonly VirtioMmioDevice[],
    iothreads: ReadonlyMap<string, DeviceThread>,
    shared: DeviceThread | undefined,
  ) {
    this.devices = devices;
    this.iothreads = iothreads;
    this.#shared = shared;
  }

  /** Makes the devices and puts them on the bus. What was half made is undone on failure. */
  static async start(options: VirtioDevicesOptions): Promise<VirtioDevices> {
    const devices: VirtioMmioDevice[] = [];
    const iothreads = new Map<string, DeviceThread>();
    let shared: DeviceThread | undefined;
    try {
      for (const { id, polling } of options.iothreads) {
        if (iothreads.has(id)) throw new BatonError("DUPLICATE_ID", `There are two iothreads '${id}'`);
        iothreads.set(id, await DeviceThread.start({ polling: polling ?? { maxNs: DEFAULT_POLL_MAX_NS } }));
      }
      if (options.descriptions.some(({ iothread }) => iothread === undefined)) shared = await DeviceThread.shared();
      for (const [index, description] of options.descriptions.entries()) {
        const { id, iothread } = description;
        if (devices.some((device) => device.id === id)) {
          throw new BatonError("DUPLICATE_ID", `There are two devices '${id}'`);
        }
        const thread = iothread === undefined ? shared : iothreads.get(iothread);
        if (thread === undefined) {
          throw new BatonError("IOTHREAD_UNKNOWN", `Device '${id}': there is no iothread '${iothread}'`);
        }
        const device = await VirtioMmioDevice.start(description, {
          vm: options.vm,
          memory: options.memory,
          thread,
          ...virtioSlot(index),
          openOrFind: options.openOrFind ?? ((_name, _id, open) => open()),
          incoming: options.incoming,
          onEvent: (event) => options.onEvent(id, event),
          onFailed: options.onFailed,
        });
        devices.push(device);
        for (const busDevice of device.busDevices) options.bus.add(busDevice);
      }
      return new VirtioDevices(devices, iothreads, shared);
    } catch (error) {
      await new VirtioDevices(devices, iothreads, shared).close();
      throw error;
    }
  }

  /** Where the devices stand. */
  get slots(): readonly VirtioSlot[] {
    return this.devices.map((_, index) => virtioSlot(index));
  }

  /** The device with this id. */
  find(id: string): VirtioMmioDevice | undefined {
    return this.devices.find((device) => device.id === id);
  }

  /** With the vCPUs paused: ends all I/O of all devices; does nothing when that is done. */
  async quiesce(): Promise<ReadonlyMap<string, QuiesceReport>> {
    if (this.#quiesced) return new Map();
    const reports = await Promise.all(
      this.devices.map(async (device): Promise<[string, QuiesceReport]> => [device.id, await device.quiesce()]),
    );
    this.#quiesced = true;
    return new Map(reports);
  }

  /** The states of the quiesced devices. */
  async save(): Promise<NamedVirtioState[]> {
    return Promise.all(this.devices.map(async (device) => ({ id: device.id, state: await device.save() })));
  }

  /** Takes saved states. Fails with `STATE_MISMATCH` where the devices are others. */
  async load(states: readonly NamedVirtioState[]): Promise<void> {
    const here = this.devices.map(({ id }) => id).join(", ");
    const there = states.map(({ id }) => id).join(", ");
    if (here !== there) {
      throw new BatonError("STATE_MISMATCH", `The state has virtio devices [${there}], this machine has [${here}]`);
    }
    this.#quiesced = true;
    await Promise.all(this.devices.map((device, i) => device.load((states[i] as NamedVirtioState).state)));
  }

  /** Goes on after a quiesce or load. */
  async resume(): Promise<void> {
    if (!this.#quiesced) return;
    this.#quiesced = false;
    await Promise.all(this.devices.map((device) => device.resume()));
  }

  /** Resets all devices, as the machine's reset does. */
  async reset(): Promise<void> {
    for (const device of this.devices) await device.reset();
  }

  async close(handedOver = false): Promise<void> {
    for (const device of this.devices) await device.close(handedOver);
    for (const thread of this.iothreads.values()) await thread.release();
    await this.#shared?.release();
  }
}
