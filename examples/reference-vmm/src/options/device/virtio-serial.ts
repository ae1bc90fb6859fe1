import { type VirtioConsolePort, virtioConsole } from "@baton/devices-virtio";
import { BatonError } from "@baton/linux";
import { optionError } from "../grammar.js";
import type { ChardevOption, VmmOptions } from "../options.js";
import { COMMON_OPTIONS, DeviceReader, type DriverEntry } from "./driver.js";

const DRIVER = "virtio-serial-device";
const MAX_PORTS = 31;

/** `-device virtio-serial-device`, the console device; its ports are `virtconsole` and `virtserialport`. */
export const virtioSerialDevice: DriverEntry = {
  options: { "max-ports": "1..31" },
  help: "a device for the ports that follow",
  make(device, vmm) {
    if (vmm.devices.filter(({ driver }) => driver === DRIVER).length > 1) {
      throw optionError(device.option, `there can be one ${DRIVER}`);
    }
    const maxPorts = device.integer("max-ports", 1, MAX_PORTS);
    const ports = portsOf(vmm).map((port) => makePort(port, vmm));
    try {
      return virtioConsole({ ...device.common("serial"), ports, ...(maxPorts !== undefined && { maxPorts }) });
    } catch (error) {
      throw optionError(device.option, BatonError.from(error, "OPTION_INVALID").message);
    }
  },
};

/** `-device virtconsole`, a console of the guest on the `-chardev` that it names. */
export const virtconsole: DriverEntry = portDriver("a console of the guest (hvc)");

/** `-device virtserialport`, a port that programs of the guest open by its name. */
export const virtserialport: DriverEntry = portDriver("a named port for programs of the guest");

function portDriver(help: string): DriverEntry {
  return {
    options: { chardev: "ID", name: "NAME", nr: "N" },
    help,
    ignored: ["bus"],
    make(device, vmm) {
      if (!vmm.devices.some(({ driver }) => driver === DRIVER)) {
        throw optionError(device.option, `${device.driver} needs a device for ports`, `Add -device ${DRIVER}`);
      }
      for (const key of COMMON_OPTIONS) {
        if (key === "id" || device.text(key) === undefined) continue;
        throw optionError(device.option, `${device.driver}: ${key}= belongs to ${DRIVER}`);
      }
      return null;
    },
  };
}

/** The chardevs that ports are on, by id; one for each port. */
export function portChardevs(vmm: VmmOptions): string[] {
  return portsOf(vmm).map(chardevOf);
}

function chardevOf(port: DeviceReader): string {
  const id = port.text("chardev");
  if (id === undefined) throw optionError(port.option, `${port.driver} needs chardev=`);
  return id;
}

function portsOf(vmm: VmmOptions): DeviceReader[] {
  return vmm.devices
    .filter(({ driver }) => driver === "virtconsole" || driver === "virtserialport")
    .map((port) => new DeviceReader(port));
}

function makePort(port: DeviceReader, vmm: VmmOptions): VirtioConsolePort {
  const chardev = chardevOf(port);
  const name = port.text("name");
  const nr = port.integer("nr", 0, MAX_PORTS - 1);
  return {
    id: port.text("id") ?? name ?? chardev,
    console: port.driver === "virtconsole",
    ...(name !== undefined && { name }),
    ...(nr !== undefined && { nr }),
    label: chardev,
    backend: backendOf(port, chardev, vmm),
  };
}

function backendOf(port: DeviceReader, id: string, vmm: VmmOptions): Exclude<ChardevOption, { kind: "stdio" }> {
  const backend = vmm.chardevs.get(id);
  if (backend === undefined) throw optionError(port.option, `${port.driver}: there is no chardev '${id}'`);
  const { serial } = vmm;
  const users = portChardevs(vmm).filter((other) => other === id).length;
  if (users > 1 || (serial !== undefined && "chardev" in serial && serial.chardev === id)) {
    throw optionError(port.option, `${port.driver}: the chardev '${id}' is taken`);
  }
  // The program puts descriptors in its place before devices are made.
  if (backend.kind === "stdio")
    throw optionError(port.option, `${port.driver}: standard input and output are not here`);
  return backend;
}
