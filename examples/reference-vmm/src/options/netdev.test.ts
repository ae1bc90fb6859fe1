import { describe, expect, it } from "@jest/globals";
import { deviceConfigs, parseDevice } from "./device/table.js";
import { parseNetdev } from "./netdev.js";
import { emptyOptions } from "./options.js";

const invalid = (message: RegExp) =>
  expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) });

describe("-netdev", () => {
  it.each([
    ["tap,id=net0,ifname=tap0", { backend: { kind: "tap", name: "tap0" }, queues: 1 }],
    [
      "tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off",
      { backend: { kind: "tap", name: "tap0" }, queues: 1 },
    ],
    ["tap,id=net0", { backend: { kind: "tap" }, queues: 1 }],
    ["tap,id=net0,fd=7", { backend: { kind: "tap", fds: [7] }, queues: 1 }],
    ["tap,id=net0,fds=7:8,queues=2", { backend: { kind: "tap", fds: [7, 8] }, queues: 2 }],
    ["tap,id=net0,fds=7:8", { backend: { kind: "tap", fds: [7, 8] }, queues: 2 }],
    ["tap,id=net0,ifname=t,vhost=on", { backend: { kind: "tap", name: "t" }, queues: 1, vhost: true }],
    ["tap,id=net0,fd=7,vhostfd=9", { backend: { kind: "tap", fds: [7] }, queues: 1, vhost: { fds: [9] } }],
    [
      "tap,id=net0,ifname=t,queues=2,vhost=on,vhostfds=9:10",
      { backend: { kind: "tap", name: "t" }, queues: 2, vhost: { fds: [9, 10] } },
    ],
  ])("reads %s", (text, expected) => {
    expect(parseNetdev("netdev", text)).toEqual({ id: "net0", ...expected });
  });

  it.each([
    ["user,id=a", /'user' is not supported/],
    ["tap,ifname=t", /needs id=/],
    ["tap,id=a,ifname=t,fd=3", /one of ifname= and fd=/],
    ["tap,id=a,fd=3,fds=4:5", /one of fd= and fds=/],
    ["tap,id=a,fds=4:x", /whole number/],
    ["tap,id=a,fds=4:5,queues=3", /2 descriptors are given for 3 queues/],
    ["tap,id=a,queues=17", /whole number from 1 to 16/],
    ["tap,id=a,script=/etc/up", /script=\/etc\/up is not supported/],
    ["tap,id=a,vhost=off,vhostfd=5", /descriptors for vhost, and vhost=off/],
    ["tap,id=a,colour=red", /unknown sub-option 'colour'/],
  ])("refuses %s", (text, message) => {
    expect(() => parseNetdev("netdev", text)).toThrow(invalid(message));
  });
});

describe("-device virtio-net-device", () => {
  const made = (...devices: string[]) => {
    const options = emptyOptions();
    options.netdevs.set("net0", parseNetdev("netdev", "tap,id=net0,ifname=tap0"));
    options.netdevs.set("net1", parseNetdev("netdev", "tap,id=net1,ifname=tap1,queues=4"));
    options.devices.push(...devices.map((text) => parseDevice("device", text)));
    return deviceConfigs(options);
  };

  it("has its netdev's id, and as many queues", () => {
    expect(made("virtio-net-device,netdev=net0", "virtio-net-device,netdev=net1,id=card,mq=on")).toEqual([
      expect.objectContaining({ kind: "virtio", model: "virtio-net", id: "net0", queues: 3 }),
      expect.objectContaining({ id: "card", queues: 9 }),
    ]);
  });

  it("is served by one thread", () => {
    expect(made("virtio-net-device,netdev=net0,rx-iothread=io,tx-iothread=io,packed=off")).toEqual([
      expect.objectContaining({ iothread: "io", rings: { packed: false } }),
    ]);
  });

  it.each([
    ["virtio-net-device", /needs netdev=/],
    ["virtio-net-device,netdev=net7", /there is no netdev 'net7'/],
    ["virtio-net-device,netdev=net1,mq=off", /mq=off, and netdev 'net1' has 4 queues/],
    ["virtio-net-device,netdev=net0,iothread=a,rx-iothread=b", /one iothread serves both directions/],
    ["virtio-net-device,netdev=net0,mtu=10", /whole number from 68 to 65535/],
  ])("refuses %s", (text, message) => {
    expect(() => made(text)).toThrow(invalid(message));
  });

  it.each([
    ["virtio-net-device,netdev=net0,mac=53:54:00:00:00:01", /is not the MAC address of a station/],
    ["virtio-net-device,netdev=net0,queue-size=100", /must be a power of two/],
  ])("refuses %s as the device does", (text, message) => {
    expect(() => made(text)).toThrow(message);
  });
});
