import { virtioBlk } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DriverEntry } from "./driver.js";

/** `-device virtio-blk-device`, a disk on the `-drive` that it names. */
export const virtioBlkDevice: DriverEntry = {
  options: { drive: "ID", serial: "TEXT", "num-queues": "N", "queue-size": "N" },
  help: "a disk",
  ignored: ["bootindex", "share-rw", "disable-modern"],
  make(device, { drives }) {
    const name = device.text("drive") ?? device.text("id");
    if (name === undefined) throw optionError(device.option, `${device.driver} needs drive=`);
    const drive = drives.get(name);
    if (drive === undefined) throw optionError(device.option, `${device.driver}: there is no drive '${name}'`);
    const { id: _id, ...options } = drive;
    const serial = device.text("serial") ?? drive.serial;
    const queues = device.integer("num-queues", 1, 32);
    const queueSize = device.integer("queue-size", 4, 1024);
    return virtioBlk({
      ...options,
      ...device.common(name),
      ...(serial !== undefined && { serial }),
      ...(queues !== undefined && { queues }),
      ...(queueSize !== undefined && { queueSize }),
    });
  },
};
