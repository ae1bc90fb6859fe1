import { describe, expect, it } from "@jest/globals";
import { emptyOptions } from "../options.js";
import { optionTable } from "../table.js";
import { deviceConfigs } from "./table.js";

/** The devices of some `-device` options. */
function made(...texts: readonly string[]) {
  const options = emptyOptions();
  for (const text of texts) optionTable.device?.apply(options, text, "device");
  return deviceConfigs(options);
}

describe("-device vsock-device and vhost-vsock-device", () => {
  it("are devices with an id of their own, or the one that is given", () => {
    expect(made("vsock-device,guest-cid=3,path=/run/vs", "vhost-vsock-device,guest-cid=4,id=kernel")).toMatchObject([
      { model: "virtio-vsock", id: "vsock", queues: 3 },
      { model: "vhost-vsock", id: "kernel", queues: 3 },
    ]);
  });

  it("take what all devices take, as far as vhost knows it", () => {
    expect(made("vhost-vsock-device,guest-cid=4,iothread=io,packed=on,event_idx=off")).toMatchObject([
      { iothread: "io", rings: { packed: false, eventIndex: false, inOrder: false } },
    ]);
  });

  it.each([
    ["vsock-device,guest-cid=3", /needs path=/],
    ["vsock-device,path=x", /needs guest-cid=/],
    ["vhost-vsock-device", /needs guest-cid=/],
    ["vhost-vsock-device,guest-cid=2", /guest-cid=2 is not a whole number from 3 to 4294967294/],
    ["vhost-vsock-device,guest-cid=3,path=x", /unknown sub-option 'path'/],
    ["vhost-vsock-device,guest-cid=3,vhostfd=-1", /vhostfd=-1 is not a whole number/],
  ])("refuse %s", (text, message) => {
    expect(() => made(text)).toThrow(message);
  });

  it("refuse a descriptor that is no vhost, naming the device", () => {
    const [device] = made("vhost-vsock-device,guest-cid=3,id=kernel,vhostfd=0");
    if (device?.kind !== "virtio") throw new Error("no virtio device");
    expect(() => device.open((_name, _id, open) => open(), { ramBytes: 0 })).toThrow(
      "kernel: the descriptor for vhost is none of /dev/vhost-vsock",
    );
  });
});
