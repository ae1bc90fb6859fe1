import type { DeviceDescription } from "../../config.js";
import { optionError, parseSubOptions } from "../grammar.js";
import type { VmmOptions } from "../options.js";
import { COMMON_OPTIONS, type DeviceOption, DeviceReader, type DriverEntry } from "./driver.js";
import { virtioBalloonDevice } from "./virtio-balloon.js";
import { virtioBlkDevice } from "./virtio-blk.js";
import { virtioNetDevice } from "./virtio-net.js";
import { virtioRngDevice } from "./virtio-rng.js";
import { virtconsole, virtioSerialDevice, virtserialport } from "./virtio-serial.js";
import { vhostVsockDevice, vsockDevice } from "./vsock.js";

/** Every driver of `-device`, by name. */
export const driverTable: Readonly<Record<string, DriverEntry>> = {
  "virtio-blk-device": virtioBlkDevice,
  "virtio-net-device": virtioNetDevice,
  "virtio-rng-device": virtioRngDevice,
  "virtio-balloon-device": virtioBalloonDevice,
  "virtio-serial-device": virtioSerialDevice,
  virtconsole,
  virtserialport,
  "vsock-device": vsockDevice,
  "vhost-vsock-device": vhostVsockDevice,
};

/** `-device DRIVER,KEY=VALUE,...`. */
export function parseDevice(option: string, text: string): DeviceOption {
  const { first, pairs } = parseSubOptions(option, text, true);
  const driver = first ?? pairs.get("driver") ?? "";
  const entry = Object.hasOwn(driverTable, driver) ? driverTable[driver] : undefined;
  if (entry === undefined) {
    const known = Object.keys(driverTable).join(", ");
    throw optionError(option, `device '${driver}' is not supported`, `Supported: ${known}`);
  }
  const known = [...COMMON_OPTIONS, ...Object.keys(entry.options), "driver", ...(entry.ignored ?? [])];
  for (const key of pairs.keys()) {
    if (entry.ignored?.includes(key)) continue;
    if (key === "bus" || key === "addr" || key === "multifunction") {
      throw optionError(option, `${driver}: ${key}= is for PCI devices, which the microvm machine does not have`);
    }
    if (!known.includes(key)) {
      throw optionError(option, `${driver}: unknown sub-option '${key}'`, `It takes: ${known.join(", ")}`);
    }
  }
  return { driver, pairs };
}

/** The devices that the options ask for, in their order. */
export function deviceConfigs(options: VmmOptions): DeviceDescription[] {
  return options.devices.flatMap((device) => {
    const entry = driverTable[device.driver] as DriverEntry;
    return entry.make(new DeviceReader(device), options) ?? [];
  });
}
