import { emptyBlk, emptyNet, type VirtioDeviceDescription } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import type { SlotsConfig } from "../config.js";

/** What can be plugged in and out. */
export type SlotKind = "disk" | "nic";

/** The most places of each kind, as StratoVirt's microvm has. */
export const MAX_SLOTS: Readonly<Record<SlotKind, number>> = { disk: 6, nic: 2 };

/** The kinds by their devices' models. */
const kinds: ReadonlyMap<string, SlotKind> = new Map([
  ["virtio-blk", "disk"],
  ["virtio-net", "nic"],
]);

/** One place of the bus with what stands in it at first. */
export interface DevicePlace {
  readonly description: VirtioDeviceDescription;
  /** The slot that it is; places without one keep their device. */
  readonly slot?: { readonly kind: SlotKind; readonly index: number; readonly empty: VirtioDeviceDescription };
}

/** The kind of slot that a device goes into; undefined for those that are never plugged. */
export function slotKind({ model }: VirtioDeviceDescription): SlotKind | undefined {
  return kinds.get(model);
}

/**
 * Where devices stand: the slots first, disks before cards, each with the next device of its kind in it or none, then
 * all others in their order. Going on from `states`, a slot has the device that it had there.
 */
export function placeDevices(
  descriptions: readonly VirtioDeviceDescription[],
  config: SlotsConfig = {},
  states?: readonly { readonly id: string }[],
): DevicePlace[] {
  const thread = config.iothread === undefined ? {} : { iothread: config.iothread };
  const empties = [
    ...slotsOf("disk", config.disks, (id) => ({ ...emptyBlk({ id }), ...thread })),
    ...slotsOf("nic", config.nics, (id) => {
      const { nicQueues, nicBackend } = config;
      const empty = { id, ...(nicQueues && { queues: nicQueues }), ...(nicBackend && { backend: nicBackend }) };
      return { ...emptyNet(empty), ...thread };
    }),
  ];
  const left = [...descriptions];
  const take = (test: (description: VirtioDeviceDescription) => boolean) => {
    const at = left.findIndex(test);
    return at < 0 ? undefined : left.splice(at, 1)[0];
  };
  const places = empties.map((slot, place): DevicePlace => {
    const wanted = states?.[place]?.id;
    const device = take((each) => slotKind(each) === slot.kind && (states === undefined || each.id === wanted));
    return { description: device ?? slot.empty, slot };
  });
  return [...places, ...left.map((description) => ({ description }))];
}

function slotsOf(kind: SlotKind, count = 0, make: (id: string) => VirtioDeviceDescription) {
  if (!Number.isInteger(count) || count < 0 || count > MAX_SLOTS[kind]) {
    throw new BatonError("SLOT_LIMIT", `A microvm has 0 to ${MAX_SLOTS[kind]} ${kind} slots, not ${count}`);
  }
  return Array.from({ length: count }, (_, index) => ({ kind, index, empty: make(`${kind}-slot-${index}`) }));
}
