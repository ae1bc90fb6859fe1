import { describe, expect, it } from "@jest/globals";
import { deviceConfigs, parseDevice } from "./device/table.js";
import { parseDrive } from "./drive.js";
import { emptyOptions } from "./options.js";

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) });

describe("-drive", () => {
  it("reads what StratoVirt's and QEMU's command lines say", () => {
    expect(parseDrive("drive", "file=/path/to/rootfs,id=rootfs,readonly=off,direct=off")).toEqual({
      ...{ id: "rootfs", path: "/path/to/rootfs", readOnly: false, direct: false, limits: {} },
    });
    const text = "id=d,file=a,,b,if=none,format=raw,cache=none,discard=unmap,serial=S,rerror=stop,werror=enospc";
    expect(parseDrive("drive", `${text},throttling.iops-total=100,throttling.bps-total=0x1000,media=cdrom`)).toEqual({
      ...{ id: "d", path: "a,b", readOnly: true, direct: true, discard: true, serial: "S" },
      ...{ readError: "stop", writeError: "enospc", limits: { iops: 100, bytesPerSecond: 4096 } },
    });
  });

  it.each([
    ["aio=io_uring,cache.direct=on,detect-zeroes=unmap", { aio: "io_uring", direct: true, detectZeroes: "unmap" }],
    ["aio=threads,cache=none", { aio: "threads", direct: true }],
    ["aio=off,detect-zeroes=off", { aio: "threads", detectZeroes: "off" }],
    // The choice is the kernel's.
    ["aio=native,direct=on", { direct: true }],
  ])("reads how requests are carried out: %s", (text, wanted) => {
    expect(parseDrive("drive", `id=a,file=/x,${text}`)).toEqual({
      ...{ id: "a", path: "/x", readOnly: false, limits: {}, ...wanted },
    });
  });

  it.each([
    ["file=/x", /needs id=/],
    ["id=a", /'a' needs file=/],
    ["id=a,file=/x,format=qcow2", /format=qcow2 is none of raw/],
    ["id=a,file=/x,if=pflash", /if=pflash is none of none/],
    ["id=a,file=/x,aio=native,direct=off", /aio=native needs direct=on/],
    ["id=a,file=/x,aio=off,direct=on", /direct=on cannot be used with aio=off/],
    ["id=a,file=/x,overlay=/y,aio=io_uring", /overlay= cannot be used with aio=io_uring/],
    ["id=a,file=/x,aio=posix", /aio=posix is none of off, threads, native, io_uring/],
    ["id=a,file=/x,detect-zeroes=yes", /detect-zeroes=yes is none of off, on, unmap/],
    ["id=a,file=/x,throttling.iops-total=1000001", /whole number from 0 to 1000000/],
    ["id=a,file=/x,rerror=enospc", /a read does not fill a disk/],
    ["id=a,file=/x,colour=red", /unknown sub-option 'colour'/],
  ])("refuses %s", (text, message) => {
    expect(() => parseDrive("drive", text)).toThrow(invalid(message));
  });
});

describe("-device", () => {
  const made = (...devices: string[]) => {
    const options = emptyOptions();
    options.drives.set("rootfs", parseDrive("drive", "file=/x,id=rootfs,serial=OF-DRIVE"));
    options.devices.push(...devices.map((text) => parseDevice("device", text)));
    return deviceConfigs(options);
  };

  it("makes a disk that needs no id", () => {
    expect(made("virtio-blk-device,drive=rootfs")).toEqual([
      expect.objectContaining({ kind: "virtio", model: "virtio-blk", id: "rootfs", queues: 1 }),
    ]);
  });

  it("reads ring features, queues and threads", () => {
    const text = "virtio-blk-device,id=d0,drive=rootfs,iothread=io,num-queues=4,packed=off,event_idx=off,in_order=on";
    expect(made(text)).toEqual([
      expect.objectContaining({
        ...{ id: "d0", iothread: "io", queues: 4 },
        rings: { packed: false, eventIndex: false, inOrder: true },
      }),
    ]);
  });

  it.each([
    ["virtio-blk-device", /needs drive=/],
    ["virtio-blk-device,drive=nope", /there is no drive 'nope'/],
    ["virtio-blk-device,drive=rootfs,num-queues=33", /num-queues=33 is not a whole number from 1 to 32/],
    ["virtio-blk-device,drive=rootfs,addr=0x3", /addr= is for PCI devices/],
    ["virtio-blk-device,drive=rootfs,size=3", /unknown sub-option 'size'/],
    ["virtio-blk-pci,drive=rootfs", /device 'virtio-blk-pci' is not supported/],
    ["virtio-rng-device,rng=nope", /there is no object 'nope'/],
    ["virtio-balloon-device,auto-balloon=on", /auto-balloon is not supported/],
  ])("refuses %s", (text, message) => {
    expect(() => made(text)).toThrow(invalid(message));
  });
});
