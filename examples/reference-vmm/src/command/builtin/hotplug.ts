import { type VirtioDeviceDescription, virtioBlk, virtioNet } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import type { Backend, BackendList } from "../../backend/backends.js";
import { type Command, type CommandContext, defineCommand } from "../command.js";
import { hotplugForms } from "../monitor/hotplug-forms.js";
import { int, nothing, type StaticMembers, str } from "../schema.js";

const ignored = { type: str, optional: true, doc: "accepted, and without effect" } as const;

const deviceArguments = {
  id: { type: str, doc: "its id, which is also the name of its back end" },
  driver: { type: str, doc: "`virtio-blk-mmio` for a disk, `virtio-net-mmio` for a network card" },
  addr: { type: str, optional: true, doc: "the slot, as `0x0`: that is vda, or eth0; the first free one without it" },
  lun: { type: int, optional: true, doc: "the slot of a disk, counted from the one after the root's" },
  drive: { type: str, optional: true, doc: "the block node; it has the disk's id" },
  netdev: { type: str, optional: true, doc: "the network back end; it has the card's id" },
  serial: { type: str, optional: true, doc: "what the guest reads as the disk's serial number; the id without it" },
  mac: { type: str, optional: true, doc: "the card's address, for drivers that start later; the slot's without it" },
  iothread: { type: str, optional: true, doc: "the iothread that serves the machine's slots; another is refused" },
  bus: ignored,
  romfile: ignored,
  "share-rw": ignored,
  "disable-modern": ignored,
} as const;

type DeviceArguments = StaticMembers<typeof deviceArguments>;

const drivers: Readonly<Record<string, (context: CommandContext, args: DeviceArguments) => VirtioDeviceDescription>> = {
  "virtio-blk-mmio": disk,
  "virtio-net-mmio": card,
};

/** Devices that come and go while the guest runs. */
export const hotplugCommands: readonly Command[] = [
  defineCommand({
    name: "device_add",
    doc: "Plugs a disk or a network card into a slot of the machine; the guest is told at once.",
    monitor: hotplugForms.device_add,
    arguments: deviceArguments,
    returns: nothing,
    errors: {
      DRIVER_UNKNOWN: "there is no such driver",
      BACKEND_NAME: "the back end has another name than the device",
      BACKEND_MISSING: "there is no back end of that name",
      DUPLICATE_ID: "the device is plugged in already",
      SLOT_TAKEN: "another device is in the slot",
      SLOT_LIMIT: "the machine has no such slot, or none is free",
      SLOT_BUSY: "a device's thread has still not answered to what was asked of the slot before",
      DEVICE_SHAPE: "the guest was promised what the device does not keep",
      IMAGE_LOCKED: "another VM has come to use the image",
      IOTHREAD_UNKNOWN: "there is no such iothread",
      IOTHREAD_SLOT: "another thread serves the slot",
      PLUG_STATE: "the run state does not allow it",
      TIMEOUT: "the device's thread did not answer; what was begun is undone when it does",
    },
    async handler(context, args, { signal }) {
      const { driver } = args;
      const make = Object.hasOwn(drivers, driver) ? drivers[driver] : undefined;
      if (make === undefined) {
        const known = Object.keys(drivers).join(", ");
        throw new BatonError("DRIVER_UNKNOWN", `Device '${args.id}': '${driver}' cannot be plugged in, only ${known}`);
      }
      const slot = slotOf(args);
      await context.vm.attach(make(context, args), { signal, ...(slot !== undefined && { slot }) });
      const { blocks, nets } = context.vm.backends;
      for (const list of [blocks, nets]) list.take(args.id);
      return {};
    },
  }),
  defineCommand({
    name: "device_del",
    doc: "Unplugs a device from its slot. `DEVICE_DELETED` is sent before the answer. Its back end may be deleted then, or its name be given to another.",
    monitor: hotplugForms.device_del,
    arguments: { id: { type: str, doc: "its id" } },
    returns: nothing,
    errors: {
      DEVICE_NOT_FOUND: "there is no such device",
      DEVICE_FIXED: "the device does not stand in a slot",
      ROOT_DISK: "the guest's root is on it",
      SLOT_BUSY: "a device's thread has still not answered to what was asked of the slot before",
      PLUG_STATE: "the run state does not allow it",
      TIMEOUT: "the device's thread did not answer; the device is gone when it does",
    },
    async handler({ vm }, { id }, { signal }) {
      await vm.detach(id, { signal });
      for (const list of [vm.backends.blocks, vm.backends.nets]) list.release(id);
      return {};
    },
  }),
];

function disk({ vm }: CommandContext, args: DeviceArguments): VirtioDeviceDescription {
  const { options } = backend(vm.backends.blocks, args, args.drive, "block node", "blockdev-add");
  const { serial, iothread } = args;
  return virtioBlk({
    ...options,
    ...(serial !== undefined && { serial }),
    ...(iothread !== undefined && { iothread }),
  });
}

function card({ vm }: CommandContext, args: DeviceArguments): VirtioDeviceDescription {
  const { id, options } = backend(vm.backends.nets, args, args.netdev, "network back end", "netdev_add");
  const { mac, iothread } = args;
  return virtioNet({ id, ...options, ...(mac !== undefined && { mac }), ...(iothread !== undefined && { iothread }) });
}

function backend<T>(
  list: BackendList<T>,
  { id }: DeviceArguments,
  name: string | undefined,
  what: string,
  command: string,
): Backend<T> {
  if (name !== undefined && name !== id) {
    throw new BatonError("BACKEND_NAME", `Device '${id}' must have the name of its ${what}, not '${name}'`);
  }
  const found = list.get(id);
  if (found !== undefined) return found;
  throw new BatonError("BACKEND_MISSING", `Device '${id}': there is no ${what} '${id}'`, {
    hint: `Name one with ${command}`,
  });
}

/** The slot that `addr` or `lun` asks for. */
function slotOf({ id, addr, lun }: DeviceArguments): number | undefined {
  if (addr !== undefined && lun !== undefined) {
    throw new BatonError("INVALID_ARGUMENT", `Device '${id}' takes one of 'addr' and 'lun'`);
  }
  if (lun !== undefined) {
    if (lun >= 0) return lun + 1;
    throw new BatonError("INVALID_ARGUMENT", `Device '${id}': lun ${lun} is no number of a slot`);
  }
  if (addr === undefined) return undefined;
  if (!/^(0x[0-9a-fA-F]{1,4}|\d{1,4})$/.test(addr)) {
    throw new BatonError("INVALID_ARGUMENT", `Device '${id}': addr '${addr}' is no number of a slot`);
  }
  return Number(addr);
}
