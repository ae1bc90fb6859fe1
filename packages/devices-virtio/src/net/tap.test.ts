import { execFileSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import type { Fd } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import { MmioBench } from "../../test/support/mmio-bench.js";
import { NetDriver, netBenchOptions, ringKinds } from "../../test/support/net-bench.js";
import type { OpenedDevice } from "../device/description.js";
import { bit } from "../device/features.js";
import type { QueueFeatures } from "../queue/features.js";
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_STATUS,
} from "./features.js";
import type { NetDeviceOptions, NetInfo } from "./options.js";
import type { NetState } from "./state.js";
import type { NetStatistics } from "./statistics.js";
import { openTap, tapInterface } from "./tap.js";
import { type VirtioNetOptions, virtioNet } from "./virtio-net.js";

const BASIC =
  bit(VIRTIO_NET_F_MAC) | bit(VIRTIO_NET_F_STATUS) | bit(VIRTIO_NET_F_MRG_RXBUF) | bit(VIRTIO_NET_F_CTRL_VQ);
const CHECKSUMS = BASIC | bit(VIRTIO_NET_F_CSUM) | bit(VIRTIO_NET_F_GUEST_CSUM);
const MAC = "52:54:00:01:02:03";
/** Of a network for benchmarks (RFC 2544): no real one has it. */
const HOST = "198.18.77.1";
const GUEST = "198.18.77.2";
const PORT = 7777;
const [split] = ringKinds as [QueueFeatures];

const absent =
  existsSync("/dev/net/tun") && process.getuid?.() === 0 ? "" : " (skipped: no /dev/net/tun, or not run by root)";
const ip = (...args: string[]) => execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A device on a tap of its own with an address of the host on it. */
async function make(
  features: bigint,
  { rings = split, ...changes }: Partial<VirtioNetOptions> & { rings?: QueueFeatures } = {},
): Promise<{ bench: MmioBench; driver: NetDriver; name: string }> {
  const description = virtioNet({ id: "net0", backend: { kind: "tap" }, mac: MAC, ...changes });
  const opened: OpenedDevice = description.open((_name, _id, open) => open(), { ramBytes: 0 });
  closers.push(() => opened.close(false));
  const options = opened.options as NetDeviceOptions;
  const bench = await MmioBench.make(netBenchOptions(options));
  closers.push(() => bench.close());
  const name = options.interface;
  ip("addr", "add", `${HOST}/30`, "dev", name);
  ip("link", "set", name, "up");
  ip("neigh", "replace", GUEST, "lladdr", MAC, "dev", name, "nud", "permanent");
  const queues = Array.from({ length: description.queues }, (_, i) => i);
  bench.start(features, rings, queues);
  return { bench, driver: new NetDriver(bench), name };
}

async function socket(): Promise<Socket> {
  const made = createSocket("udp4");
  made.bind(0, HOST);
  await once(made, "listening");
  closers.push(() => void made.close());
  return made;
}

const sendTo = (from: Socket, bytes: Uint8Array) =>
  new Promise<void>((resolve, reject) => from.send(bytes, PORT, GUEST, (error) => (error ? reject(error) : resolve())));

/** The payloads of the UDP packets to the guest among received frames. */
function payloads(frames: readonly { readonly bytes: Uint8Array }[]): Buffer[] {
  return frames
    .map(({ bytes }) => Buffer.from(bytes))
    .filter((bytes) => bytes.readUInt16BE(12) === 0x0800 && bytes[23] === 17 && bytes.readUInt16BE(36) === PORT)
    .map((bytes) => bytes.subarray(42));
}

function sum(bytes: Buffer): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] as number) * 256 + (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** A UDP packet from the guest, with its virtio header; with `partial` its checksum is left to the host. */
function datagram(hostMac: string, port: number, data: Uint8Array, partial: boolean): Uint8Array {
  const bytes = Buffer.alloc(12 + 42 + data.length);
  const frame = bytes.subarray(12);
  frame.set(hostMac.split(":").map((part) => Number.parseInt(part, 16)));
  frame.set(
    MAC.split(":").map((part) => Number.parseInt(part, 16)),
    6,
  );
  frame.writeUInt16BE(0x0800, 12);
  const header = frame.subarray(14, 34);
  header.set([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0]);
  header.writeUInt16BE(28 + data.length, 2);
  header.set([...GUEST.split("."), ...HOST.split(".")].map(Number), 12);
  header.writeUInt16BE(~sum(header) & 0xffff, 10);
  frame.writeUInt16BE(PORT, 34);
  frame.writeUInt16BE(port, 36);
  frame.writeUInt16BE(8 + data.length, 38);
  frame.set(data, 42);
  if (partial) {
    const pseudo = Buffer.concat([header.subarray(12), Buffer.of(0, 17, 0, 0)]);
    pseudo.writeUInt16BE(8 + data.length, 10);
    frame.writeUInt16BE(sum(pseudo), 40);
    // VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start, csum_offset.
    bytes[0] = 1;
    bytes.writeUInt16LE(34, 6);
    bytes.writeUInt16LE(6, 8);
  }
  return new Uint8Array(bytes);
}

const macOf = (name: string) => (JSON.parse(ip("-j", "link", "show", name)) as { address: string }[])[0]?.address ?? "";

(absent === "" ? describe : describe.skip)(`a tap${absent}`, () => {
  it.each(ringKinds)("carries packets between the host's network and the guest on %p", async (rings) => {
    const { bench, driver, name } = await make(CHECKSUMS, { rings });
    driver.offer(...Array.from({ length: 30 }, () => 1600));
    const host = await socket();
    for (let i = 0; i < 10; i++) await sendTo(host, Buffer.alloc(400 + i, i));
    bench.settle();
    expect(payloads(driver.takeAll()).map((data) => [data.length, data[0]])).toEqual(
      Array.from({ length: 10 }, (_, i) => [400 + i, i]),
    );
    for (const partial of [false, true]) {
      const got = once(host, "message") as Promise<[Buffer]>;
      driver.queue(datagram(macOf(name), host.address().port, Buffer.from(`from the guest ${partial}`), partial));
      driver.flush();
      bench.settle();
      expect((await got)[0].toString()).toBe(`from the guest ${partial}`);
    }
    expect((bench.command("info") as NetInfo).interface).toBe(name);
  });

  it("refuses headers of a hostile guest, which are counted", async () => {
    const { bench, driver, name } = await make(CHECKSUMS);
    const host = await socket();
    const good = datagram(macOf(name), host.address().port, Buffer.from("well"), true);
    const bad = (change: (header: DataView) => void) => {
      const bytes = good.slice();
      change(new DataView(bytes.buffer));
      driver.queue(bytes);
    };
    bad((header) => header.setUint16(6, 60_000, true));
    bad((header) => header.setUint16(8, 60_000, true));
    bad((header) => header.setUint8(1, 0x77));
    bad((header) => {
      header.setUint8(1, 1);
      header.setUint16(4, 0, true);
    });
    driver.flush();
    bench.settle();
    const got = once(host, "message") as Promise<[Buffer]>;
    driver.queue(good);
    driver.flush();
    bench.settle();
    expect((await got)[0].toString()).toBe("well");
    expect(driver.reap()).toBe(5);
    const { transmit } = bench.command("statistics") as NetStatistics;
    expect(transmit).toEqual({ packets: 1, bytes: 46, dropped: 4 });
  });

  it.each(ringKinds)("receives bursts with long packets in them, in order and over a move, on %p", async (rings) => {
    const { bench, driver, name } = await make(CHECKSUMS, { rings });
    ip("link", "set", name, "mtu", "9000");
    const host = await socket();
    // The seven before have it ask for eight together.
    const sizes = [...Array.from({ length: 9 }, () => 300), 4000, 400, 401, 402, 5000, 403];
    for (const [i, size] of sizes.entries()) await sendTo(host, Buffer.alloc(size, i));
    driver.offer(...Array.from({ length: 13 }, () => 1600));
    bench.settle();
    const state = bench.save();
    expect((state.device as NetState).pending[0]?.length).toBeGreaterThan(0);
    const before = payloads(driver.takeAll());
    await driver.move(state);
    closers.push(() => driver.bench.close(false));
    driver.bench.call("resume");
    driver.offer(...Array.from({ length: 20 }, () => 1600));
    driver.bench.settle();
    const all = [...before, ...payloads(driver.takeAll())];
    expect(all.map((data) => [data.length, data[0], data.at(-1)])).toEqual(sizes.map((size, i) => [size, i, i]));
    expect((driver.bench.command("statistics") as NetStatistics).receive.dropped).toBe(0);
  });

  it("receives in batches whatever does not fit into a buffer, and drops it", async () => {
    const { bench, driver, name } = await make(CHECKSUMS & ~bit(VIRTIO_NET_F_MRG_RXBUF));
    ip("link", "set", name, "mtu", "9000");
    const host = await socket();
    const sizes = [...Array.from({ length: 9 }, () => 300), 4000, 400, 5000, 401];
    for (const [i, size] of sizes.entries()) await sendTo(host, Buffer.alloc(size, i));
    driver.offer(...Array.from({ length: 30 }, () => 1600));
    bench.settle();
    const fitting = sizes.filter((size) => size < 1600);
    expect(payloads(driver.takeAll()).map((data) => data.length)).toEqual(fitting);
    expect((bench.command("statistics") as NetStatistics).receive.dropped).toBe(2);
  });

  it("takes other offloads at any time, and keeps them over a move", async () => {
    const features = CHECKSUMS | bit(VIRTIO_NET_F_GUEST_TSO4) | bit(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
    const { bench, driver } = await make(features);
    expect(driver.control(2, Uint8Array.of(5, 0, 2, 0, 0, 0, 0, 0, 0, 0))).toBe(0);
    expect(driver.control(2, Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0))).toBe(1);
    await driver.move(bench.save());
    closers.push(() => driver.bench.close(false));
    driver.bench.call("resume");
    expect((driver.bench.command("info") as NetInfo).linkUp).toBe(true);
  });

  it("gives packets to the queues in use alone", async () => {
    const { bench, driver } = await make(BASIC | bit(VIRTIO_NET_F_MQ), { queues: 2 });
    const second = new NetDriver(bench, 1);
    driver.offer(...Array.from({ length: 30 }, () => 1600));
    second.offer(...Array.from({ length: 30 }, () => 1600));
    const hosts = await Promise.all(Array.from({ length: 12 }, socket));
    for (const host of hosts) await sendTo(host, Buffer.from("one pair"));
    bench.settle();
    expect(payloads(driver.takeAll())).toHaveLength(12);
    expect(driver.control(4, Uint8Array.of(4, 0, 2, 0))).toBe(0);
    for (const host of hosts) await sendTo(host, Buffer.from("two pairs"));
    bench.settle();
    const [first, other] = [payloads(driver.takeAll()).length, payloads(second.takeAll()).length];
    expect(first + other).toBe(12);
    expect(other).toBeGreaterThan(0);
  });

  it("that is deleted is a link that goes down", async () => {
    const { bench, driver, name } = await make(BASIC);
    driver.offer(1600, 1600);
    bench.settle();
    ip("link", "del", name);
    driver.queue(datagram("02:00:00:00:00:01", 9, Buffer.from("lost"), false));
    driver.flush();
    expect(bench.settle()).toBeLessThan(20);
    expect(bench.events.map((event) => event.name)).toEqual(["link-lost"]);
    expect((bench.command("info") as NetInfo).linkUp).toBe(false);
    expect(bench.status & 0x40).toBe(0);
  });

  it("that is down on the host's side loses packets, and nothing else", async () => {
    const { bench, driver, name } = await make(BASIC);
    ip("link", "set", name, "down");
    driver.queue(datagram("02:00:00:00:00:01", 9, Buffer.from("lost"), false));
    driver.flush();
    bench.settle();
    expect(bench.events).toEqual([]);
    expect((bench.command("statistics") as NetStatistics).transmit.dropped).toBe(1);
  });

  it("can be given as descriptors", async () => {
    const given: Fd = openTap("test", undefined, false);
    closers.push(() => given.close());
    const { name } = tapInterface(given);
    const { bench } = await make(BASIC, { backend: { kind: "tap", fds: [given.raw] } });
    expect((bench.command("info") as NetInfo).interface).toBe(name);
  });

  (existsSync("/dev/vhost-net") ? it.skip : it)("without vhost-net says how to have it", () => {
    const open = () =>
      virtioNet({ id: "net0", backend: { kind: "tap" }, vhost: true }).open((_name, _id, open) => open(), {
        ramBytes: 0,
      });
    const missing = { code: "VHOST_UNAVAILABLE", hint: expect.stringContaining("modprobe vhost_net") };
    expect(open).toThrow(expect.objectContaining(missing));
  });

  it("that cannot be had is an error that names it", () => {
    const open = (backend: VirtioNetOptions["backend"], queues = 1) =>
      virtioNet({ id: "net0", backend, queues }).open((_name, _id, open) => open(), { ramBytes: 0 });
    const tap = openTap("test", "batontap0", false);
    closers.push(() => tap.close());
    const busy = { code: "TAP_OPEN", message: expect.stringContaining("batontap0"), hint: expect.any(String) };
    expect(() => open({ kind: "tap", name: "batontap0" })).toThrow(expect.objectContaining(busy));
    expect(() => open({ kind: "tap", name: "far-too-long-a-name" })).toThrow(
      expect.objectContaining({ code: "TAP_OPEN" }),
    );
    expect(() => open({ kind: "tap", fds: [0] })).toThrow(expect.objectContaining({ code: "TAP_OPEN" }));
    expect(() => open({ kind: "tap", fds: [0] }, 2)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
