import type { DeviceThread } from "@baton/core-kvm";
import type { OpenOrFind, VirtioDeviceDescription, VirtioMmioDevice } from "@baton/devices-virtio";
import { BatonError, throwIfAborted } from "@baton/linux";
import { withDeadline } from "./deadline.js";
import { type DevicePlace, type SlotKind, slotKind } from "./device-places.js";

/** How long plugging may take where the device's thread is busy, unless it is told otherwise. */
const TIMEOUT_MS = 10_000;

/** Options of plugging and unplugging. */
export interface PlugOptions {
  /** The slot, counted from 0 for disks and for cards; the first free one unless given. */
  readonly slot?: number;
  /** How long the device's thread may take; 10,000 ms unless given. */
  readonly timeoutMs?: number;
  /** Abort undoes what was half made. */
  readonly signal?: AbortSignal;
}

/** One slot as queries see it. */
export interface SlotInfo {
  readonly kind: SlotKind;
  readonly index: number;
  /** The id of the device in it; null for an empty one. */
  readonly device: string | null;
}

interface Slot {
  readonly kind: SlotKind;
  readonly index: number;
  readonly empty: VirtioDeviceDescription;
  readonly device: VirtioMmioDevice;
  /** What is being done to it by somebody who has perhaps given up. */
  changing: "plugged" | "unplugged" | null;
}

/** What the slots need of the other devices. */
export interface HotplugContext {
  readonly openOrFind: OpenOrFind;
  /** All devices of the machine, those in slots as well. */
  devices(): readonly VirtioMmioDevice[];
  /** The iothreads by their ids. */
  readonly iothreads: ReadonlyMap<string, DeviceThread>;
}

/** The slots of a machine: disks and network cards come into them and leave them while the guest runs. */
export class HotplugSlots {
  readonly #slots: readonly Slot[];
  readonly #context: HotplugContext;
  /** The id of the disk that the guest has its root on, which stays. */
  readonly #root: string | undefined;

  constructor(
    places: readonly (DevicePlace & { readonly device: VirtioMmioDevice })[],
    root: string | undefined,
    context: HotplugContext,
  ) {
    this.#slots = places.flatMap(({ slot, device }) => (slot ? [{ ...slot, device, changing: null }] : []));
    this.#root = root;
    this.#context = context;
  }

  /** The slots with what is in them. */
  get info(): readonly SlotInfo[] {
    return this.#slots.map(({ kind, index, device }) => ({
      kind,
      index,
      device: device.description.empty ? null : device.id,
    }));
  }

  /** The id of the disk that the guest's root is on, where the kernel's command line says so. */
  get root(): string | undefined {
    return this.#root;
  }

  /** Plugs a device in. Errors: see `VirtualMachine.attach`; the slots are then as before. */
  async plug(description: VirtioDeviceDescription, options: PlugOptions = {}): Promise<void> {
    const { id } = description;
    if (this.#context.devices().some((device) => device.id === id)) {
      throw new BatonError("DUPLICATE_ID", `There is a device '${id}' already`, { details: { device: id } });
    }
    const slot = this.#choose(description, options.slot);
    this.#checkThread(slot, description);
    const plug = () => slot.device.replace(description, this.#context.openOrFind);
    await this.#change(slot, "plugged", plug, options, async () => {
      await slot.device.replace(slot.empty, this.#context.openOrFind);
    });
  }

  /** Plugs a device out; `onDone` is called then, also where that is later than the caller waits. */
  async unplug(id: string, options: Omit<PlugOptions, "slot">, onDone: () => void): Promise<void> {
    const slot = this.#slots.find(({ device }) => device.id === id && !device.description.empty);
    if (slot === undefined) {
      if (!this.#context.devices().some((device) => device.id === id && !device.description.empty)) {
        throw new BatonError("DEVICE_NOT_FOUND", `Device '${id}' not found`, { details: { device: id } });
      }
      throw new BatonError("DEVICE_FIXED", `Device '${id}' does not stand in a slot: it stays as long as the machine`);
    }
    if (id === this.#root) {
      throw new BatonError("ROOT_DISK", `Device '${id}' has the guest's root file system: it cannot be unplugged`);
    }
    this.#checkIdle(slot);
    const unplug = () => slot.device.replace(slot.empty, this.#context.openOrFind);
    await this.#change(slot, "unplugged", unplug, options, onDone);
    onDone();
  }

  #choose(description: VirtioDeviceDescription, wanted: number | undefined): Slot {
    const { id, model } = description;
    const kind = slotKind(description);
    if (kind === undefined) {
      throw new BatonError(
        "DEVICE_FIXED",
        `Device '${id}': a ${model} cannot be plugged, only disks and network cards`,
      );
    }
    const slots = this.#slots.filter((slot) => slot.kind === kind);
    const has = `the machine has ${slots.length} ${kind} slot${slots.length === 1 ? "" : "s"}`;
    if (wanted === undefined) {
      const free = slots.find(({ device, changing }) => device.description.empty && changing === null);
      if (free !== undefined) return free;
      const hint = slots.length === 0 ? { hint: "Slots are made with the machine: `slots` of its configuration" } : {};
      throw new BatonError("SLOT_LIMIT", `Device '${id}' finds no free slot: ${has}`, hint);
    }
    const slot = slots[wanted];
    if (slot === undefined) {
      throw new BatonError("SLOT_LIMIT", `Device '${id}' cannot have ${kind} slot ${wanted}: ${has}`);
    }
    this.#checkIdle(slot);
    if (!slot.device.description.empty) {
      const by = `Device '${id}' cannot have ${kind} slot ${wanted}: device '${slot.device.id}' is in it`;
      throw new BatonError("SLOT_TAKEN", by, { details: { slot: wanted, device: slot.device.id } });
    }
    return slot;
  }

  /** A slot keeps the thread that has served it from the start. */
  #checkThread({ kind, index, device, empty }: Slot, { id, iothread }: VirtioDeviceDescription): void {
    if (iothread === undefined) return;
    const thread = this.#context.iothreads.get(iothread);
    if (thread === undefined) {
      throw new BatonError("IOTHREAD_UNKNOWN", `Device '${id}': there is no iothread '${iothread}'`);
    }
    if (thread === device.thread) return;
    const by = empty.iothread === undefined ? "the shared device thread" : `the iothread '${empty.iothread}'`;
    throw new BatonError(
      "IOTHREAD_SLOT",
      `Device '${id}': the ${kind} slot ${index} is served by ${by}, not '${iothread}'`,
      {
        hint: "Say with the machine which iothread serves its slots",
      },
    );
  }

  #checkIdle({ kind, index, changing }: Slot): void {
    if (changing === null) return;
    throw new BatonError(
      "SLOT_BUSY",
      `The ${kind} slot ${index} is still being ${changing}: its thread does not answer`,
    );
  }

  /** Changes a slot in time. What comes to its end later is followed by `onLate`. */
  async #change(
    slot: Slot,
    how: "plugged" | "unplugged",
    change: () => Promise<void>,
    { timeoutMs = TIMEOUT_MS, signal }: PlugOptions,
    onLate: () => void | Promise<void>,
  ): Promise<void> {
    throwIfAborted(signal);
    const release = () => {
      slot.changing = null;
    };
    slot.changing = how;
    let settled = false;
    const work = change().finally(() => {
      settled = true;
    });
    try {
      await withDeadline(work, {
        timeoutMs,
        ...(signal && { signal }),
        what: `The ${slot.kind} slot ${slot.index} could not be ${how}: its thread`,
        onLate: async (succeeded) => {
          try {
            if (succeeded) await onLate();
          } finally {
            release();
          }
        },
      });
    } finally {
      if (settled) release();
    }
  }
}
