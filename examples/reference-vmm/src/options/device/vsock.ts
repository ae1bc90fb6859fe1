import { vhostVsock, virtioVsock } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DeviceReader, DriverEntry } from "./driver.js";

const MIN_CID = 3;
const MAX_CID = 0xffff_fffe;

/** `-device vsock-device`, sockets between the guest and UNIX sockets of the host. */
export const vsockDevice: DriverEntry = {
  options: { "guest-cid": "N", path: "PATH" },
  help: "sockets between guest and host programs, in user space",
  make(device) {
    const guestCid = requiredCid(device);
    const path = device.text("path");
    if (path === undefined || path === "") throw optionError(device.option, `${device.driver} needs path=`);
    return virtioVsock({ ...device.common("vsock"), guestCid, path });
  },
};

/** `-device vhost-vsock-device`, sockets between the guest and AF_VSOCK of the host. */
export const vhostVsockDevice: DriverEntry = {
  options: { "guest-cid": "N", vhostfd: "N" },
  help: "sockets between guest and host programs, by the kernel's vhost-vsock",
  make(device) {
    const guestCid = requiredCid(device);
    const vhostFd = device.integer("vhostfd", 0, 0x7fff_ffff);
    return vhostVsock({ ...device.common("vsock"), guestCid, ...(vhostFd !== undefined && { vhostFd }) });
  },
};

function requiredCid(device: DeviceReader): number {
  const guestCid = device.integer("guest-cid", MIN_CID, MAX_CID);
  if (guestCid === undefined) throw optionError(device.option, `${device.driver} needs guest-cid=`);
  return guestCid;
}
