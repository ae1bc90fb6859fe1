import { virtioNet } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DeviceReader, DriverEntry } from "./driver.js";

/** `-device virtio-net-device`, a network card on the `-netdev` that it names. */
export const virtioNetDevice: DriverEntry = {
  options: {
    netdev: "ID",
    mac: "ADDRESS",
    mq: "on|off",
    "queue-size": "N",
    mtu: "N",
    host_mtu: "N",
    "rx-iothread": "ID",
    "tx-iothread": "ID",
  },
  help: "a network card",
  ignored: ["bootindex", "disable-modern", "vectors", "romfile"],
  make(device, { netdevs }) {
    const name = device.text("netdev") ?? device.text("id");
    if (name === undefined) throw optionError(device.option, `${device.driver} needs netdev=`);
    const netdev = netdevs.get(name);
    if (netdev === undefined) throw optionError(device.option, `${device.driver}: there is no netdev '${name}'`);
    const { id: _id, ...backend } = netdev;
    if (netdev.queues > 1 && device.bool("mq") === false) {
      throw optionError(device.option, `${device.driver}: mq=off, and netdev '${name}' has ${netdev.queues} queues`);
    }
    const mac = device.text("mac");
    const mtu = device.integer("mtu", 68, 65535) ?? device.integer("host_mtu", 68, 65535);
    const queueSize = device.integer("queue-size", 16, 1024);
    return virtioNet({
      ...backend,
      ...device.common(name),
      ...thread(device),
      ...(mac !== undefined && { mac }),
      ...(mtu !== undefined && { mtu }),
      ...(queueSize !== undefined && { queueSize }),
    });
  },
};

/** One thread serves a device: those for the two directions are to be the same. */
function thread(device: DeviceReader): { readonly iothread?: string } {
  const given = ["iothread", "rx-iothread", "tx-iothread"].flatMap((key) => device.text(key) ?? []);
  const [first] = given;
  if (given.some((id) => id !== first)) {
    throw optionError(device.option, `${device.driver}: one iothread serves both directions`, "Name the same for both");
  }
  return first === undefined ? {} : { iothread: first };
}
