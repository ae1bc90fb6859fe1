import { virtioVsock } from "@baton/devices-virtio";
import { optionError } from "../grammar.js";
import type { DriverEntry } from "./driver.js";

const MIN_CID = 3;
const MAX_CID = 0xffff_fffe;

/** `-device vsock-device`, sockets between the guest and UNIX sockets of the host. */
export const vsockDevice: DriverEntry = {
  options: { "guest-cid": "N", path: "PATH" },
  help: "sockets between guest and host programs, in user space",
  make(device) {
    const guestCid = device.integer("guest-cid", MIN_CID, MAX_CID);
    const path = device.text("path");
    if (guestCid === undefined) throw optionError(device.option, `${device.driver} needs guest-cid=`);
    if (path === undefined || path === "") throw optionError(device.option, `${device.driver} needs path=`);
    return virtioVsock({ ...device.common("vsock"), guestCid, path });
  },
};
