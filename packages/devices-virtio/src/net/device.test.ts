import { type Fd, tryRecv, trySend } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import { BENCH_BUFFERS, MmioBench } from "../../test/support/mmio-bench.js";
import {
  frame,
  NetDriver,
  netBenchOptions,
  netOptions,
  packet,
  packetPair,
  ringKinds,
} from "../../test/support/net-bench.js";
import { bit } from "../device/features.js";
import type { QueueFeatures } from "../queue/features.js";
import {
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_STATUS,
} from "./features.js";
import type { NetDeviceOptions, NetInfo } from "./options.js";
import type { NetState } from "./state.js";
import type { NetStatistics } from "./statistics.js";

const USUAL =
  bit(VIRTIO_NET_F_MAC) |
  bit(VIRTIO_NET_F_STATUS) |
  bit(VIRTIO_NET_F_CTRL_VQ) |
  bit(VIRTIO_NET_F_CTRL_RX) |
  bit(VIRTIO_NET_F_CTRL_MAC_ADDR) |
  bit(VIRTIO_NET_F_GUEST_ANNOUNCE);
const MERGEABLE = USUAL | bit(VIRTIO_NET_F_MRG_RXBUF);
const [split] = ringKinds as [QueueFeatures];

const fds: Fd[] = [];
let driver: NetDriver | undefined;

afterEach(() => {
  driver?.bench.close();
  driver = undefined;
  for (const fd of fds.splice(0)) fd.close();
});

/** A started device with its driver, and the network's ends. */
async function make(
  features: bigint,
  { rings = split, pairs = 1, ...changes }: Partial<NetDeviceOptions> & { rings?: QueueFeatures; pairs?: number } = {},
): Promise<{ driver: NetDriver; network: Fd[]; bench: () => MmioBench }> {
  const ends = Array.from({ length: pairs }, packetPair);
  fds.push(...ends.flat());
  const options = netOptions(
    ends.map(([device]) => device.raw),
    changes,
  );
  const bench = await MmioBench.make(netBenchOptions(options));
  bench.start(features, rings, pairs === 1 ? [0, 1, 2] : Array.from({ length: 2 * pairs + 1 }, (_, i) => i));
  const made = new NetDriver(bench);
  driver = made;
  return { driver: made, network: ends.map(([, network]) => network), bench: () => made.bench };
}

const receive = (fd: Fd | undefined) => {
  const bytes = new Uint8Array(70_000);
  const length = tryRecv((fd as Fd).raw, bytes);
  return length < 0 ? null : bytes.slice(0, length);
};
const send = (fd: Fd | undefined, bytes: Uint8Array) => trySend((fd as Fd).raw, bytes);
const statistics = (bench: MmioBench) => bench.command("statistics") as NetStatistics;
const info = (bench: MmioBench) => bench.command("info") as NetInfo;
const linkUp = (bench: MmioBench) => (bench.read(0x100 + 6, 2) & 1) === 1;

describe.each(ringKinds)("a network device on %p", (rings) => {
  it.each([true, false])("moves packets both ways, mergeable %p", async (mergeable) => {
    const { driver, network, bench } = await make(mergeable ? MERGEABLE : USUAL, { rings });
    for (let i = 0; i < 16; i++) driver.offer(1600);
    bench().settle();
    for (let round = 0; round < 20; round++) {
      driver.send(frame(60 + round * 70, round));
      send(network[0], packet(frame(1500 - round * 70, round)));
      bench().settle();
      expect(receive(network[0])).toEqual(packet(frame(60 + round * 70, round)));
      const got = driver.take();
      expect(got?.numBuffers).toBe(1);
      expect(got?.bytes).toEqual(frame(1500 - round * 70, round));
      driver.offer(1600);
      expect(driver.reap()).toBe(1);
    }
    expect(bench().interrupts).toBeGreaterThan(0);
    const { receive: rx, transmit: tx } = statistics(bench());
    expect([rx.packets, tx.packets, rx.dropped, tx.dropped]).toEqual([20, 20, 0, 0]);
  });

  it("spreads a packet over several buffers", async () => {
    const { driver, network, bench } = await make(MERGEABLE, { rings });
    driver.offer(...Array.from({ length: 20 }, () => 600));
    bench().settle();
    send(network[0], packet(frame(5000)));
    send(network[0], packet(frame(100, 2)));
    bench().settle();
    const [large, small] = driver.takeAll();
    expect(large?.numBuffers).toBe(Math.ceil(5012 / 600));
    expect(large?.bytes).toEqual(frame(5000));
    expect(small?.bytes).toEqual(frame(100, 2));
  });

  it("holds a packet that has no room until there is some", async () => {
    const { driver, network, bench } = await make(MERGEABLE, { rings });
    driver.offer(600, 600);
    bench().settle();
    send(network[0], packet(frame(3000)));
    send(network[0], packet(frame(64, 3)));
    expect(bench().settle()).toBeLessThan(20);
    expect(driver.take()).toBeNull();
    driver.offer(600, 600);
    bench().settle();
    expect(driver.take()).toBeNull();
    driver.offer(600, 600, 600);
    bench().settle();
    const packets = driver.takeAll();
    expect(packets.map(({ bytes }) => bytes.length)).toEqual([3000, 64]);
    expect(packets[0]?.bytes).toEqual(frame(3000));
  });

  it("reads nothing without buffers, and goes on with them", async () => {
    const { driver, network, bench } = await make(USUAL, { rings });
    for (let i = 0; i < 10; i++) send(network[0], packet(frame(100, i)));
    expect(bench().settle()).toBeLessThan(20);
    driver.offer(1600, 1600, 1600);
    bench().settle();
    expect(driver.takeAll()).toHaveLength(3);
    driver.offer(...Array.from({ length: 12 }, () => 1600));
    bench().settle();
    expect(driver.takeAll().map(({ bytes }) => bytes[99])).toEqual([3, 4, 5, 6, 7, 8, 9].map((i) => frame(100, i)[99]));
  });

  it("waits where the network takes no more", async () => {
    const { driver, network, bench } = await make(USUAL, { rings });
    for (let i = 0; i < 30; i++) driver.queue(packet(frame(60_000, i)));
    driver.flush();
    expect(bench().settle()).toBeLessThan(50);
    const sent = driver.reap();
    expect(sent).toBeLessThan(30);
    const got: number[] = [];
    for (let turn = 0; turn < 100 && got.length < 30; turn++) {
      for (let bytes = receive(network[0]); bytes; bytes = receive(network[0])) got.push(bytes[30_000] as number);
      bench().settle();
    }
    expect(got).toEqual(Array.from({ length: 30 }, (_, i) => packet(frame(60_000, i))[30_000]));
    expect(driver.reap()).toBe(30 - sent);
  });

  it("moves to another device in the middle of traffic", async () => {
    const { driver, network } = await make(MERGEABLE, { rings });
    let sent = 0;
    let received = 0;
    let echoed = 0;
    for (let round = 0; round < 12; round++) {
      driver.offer(...Array.from({ length: Math.min(6, 20) }, () => 700));
      for (let i = 0; i < 3; i++) send(network[0], packet(frame(round % 4 === 0 ? 2500 : 300, sent++)));
      for (let i = 0; i < 3; i++) driver.queue(packet(frame(200, round * 3 + i)));
      if (round % 2 === 0) driver.flush();
      for (let turn = 0; turn < round % 4; turn++) driver.bench.turn();
      const state = driver.bench.save();
      for (const { ring } of state.queues) expect(ring?.inFlight ?? []).toEqual([]);
      for (let bytes = receive(network[0]); bytes; bytes = receive(network[0])) {
        expect(bytes).toEqual(packet(frame(200, echoed++)));
      }
      await driver.move(state);
      // Nothing happens between load and resume.
      driver.bench.turn();
      expect(receive(network[0])).toBeNull();
      driver.bench.call("resume");
      driver.bench.settle();
      for (const { bytes } of driver.takeAll()) {
        expect(bytes).toEqual(frame(bytes.length, received++));
      }
      for (let bytes = receive(network[0]); bytes; bytes = receive(network[0])) {
        expect(bytes).toEqual(packet(frame(200, echoed++)));
      }
      driver.reap();
    }
    while (received < sent) {
      driver.offer(700, 700, 700, 700);
      driver.bench.settle();
      const packets = driver.takeAll();
      if (packets.length === 0) break;
      for (const { bytes } of packets) expect(bytes).toEqual(frame(bytes.length, received++));
    }
    expect(received).toBe(sent);
    driver.flush();
    driver.bench.settle();
    for (let bytes = receive(network[0]); bytes; bytes = receive(network[0])) echoed++;
    expect(echoed).toBe(36);
  });

  it("answers a driver that breaks the rules with DEVICE_NEEDS_RESET, and starts again", async () => {
    const { driver, network, bench } = await make(MERGEABLE, { rings });
    driver.offer(1600, 8);
    send(network[0], packet(frame(1000)));
    expect(bench().settle()).toBeLessThan(20);
    expect(bench().status & 0x40).toBe(0x40);
    expect(bench().events.some(({ name }) => name === "needs-reset")).toBe(true);
    const state = bench().save();
    bench().call("resume");
    send(network[0], packet(frame(1000)));
    expect(bench().settle()).toBeLessThan(20);
    expect((state.device as NetState).halted).toBe(true);
    bench().start(MERGEABLE, rings, [0, 1, 2]);
    const again = new NetDriver(bench());
    again.offer(1600, 1600);
    bench().settle();
    expect(again.take()?.bytes).toHaveLength(1000);
  });
});

describe("a network device", () => {
  it("drops malformed packets and tells how many", async () => {
    const { driver, network, bench } = await make(USUAL);
    driver.queue(new Uint8Array(5), []);
    driver.queue(new Uint8Array(12), []);
    driver.queue(new Uint8Array(25), []);
    driver.queue(packet(frame(65_700)));
    driver.queue(packet(frame(100)));
    driver.flush();
    bench().settle();
    expect(driver.reap()).toBe(5);
    expect(receive(network[0])).toEqual(packet(frame(100)));
    expect(receive(network[0])).toBeNull();
    expect(statistics(bench()).transmit).toEqual({ packets: 1, bytes: 100, dropped: 4 });
  });

  it("sends packets in as many pieces as a chain can have", async () => {
    const { driver, network, bench } = await make(USUAL, {});
    const gpa = BENCH_BUFFERS;
    const bytes = packet(frame(4000));
    bench().memory.write(gpa, bytes);
    const table = bench().drivers[1] as { rings: { place(chain: object[]): number } };
    // Bytes that do not touch, from an indirect table of 1022 entries.
    const at = gpa + 0x10_0000;
    for (let i = 0; i < 1022; i++) {
      bench().memory.write(gpa + 0x2_0000 + i * 16, bytes.subarray(i, i + 1));
      bench().memory.writeU64(at + i * 16, BigInt(gpa + 0x2_0000 + i * 16));
      bench().memory.writeU32(at + i * 16 + 8, 1);
      bench().memory.writeU32(at + i * 16 + 12, i < 1021 ? 1 | ((i + 1) << 16) : 0);
    }
    table.rings.place([{ gpa: at, length: 1022 * 16, flags: 4, next: 0 }]);
    driver.flush();
    bench().settle();
    expect(receive(network[0])).toEqual(bytes.subarray(0, 1022));
  });

  it("drops what is too long for a buffer that cannot be merged", async () => {
    const { driver, network, bench } = await make(USUAL);
    driver.offer(800, 800);
    bench().settle();
    send(network[0], packet(frame(2000)));
    send(network[0], packet(frame(700)));
    send(network[0], new Uint8Array(4));
    bench().settle();
    expect(driver.takeAll().map(({ bytes }) => bytes.length)).toEqual([700]);
    expect(statistics(bench()).receive).toEqual({ packets: 1, bytes: 700, dropped: 2 });
  });

  it("drops a packet that no ring of the driver's size can take", async () => {
    const { driver, network, bench } = await make(MERGEABLE);
    bench().start(MERGEABLE, split, [0, 1, 2], 4);
    driver.offer(90, 90, 90, 90);
    send(network[0], packet(frame(2000)));
    send(network[0], packet(frame(50)));
    bench().settle();
    expect(driver.takeAll().map(({ bytes }) => bytes.length)).toEqual([50]);
    expect(statistics(bench()).receive.dropped).toBe(1);
  });

  it("drops what is sent while the link is down, and reads nothing", async () => {
    const { driver, network, bench } = await make(MERGEABLE);
    driver.offer(1600, 1600);
    bench().settle();
    expect(linkUp(bench())).toBe(true);
    const generation = bench().read(0xfc);
    bench().command("set-link", { up: false });
    expect(linkUp(bench())).toBe(false);
    expect(bench().read(0xfc)).not.toBe(generation);
    driver.send(frame(100));
    send(network[0], packet(frame(200)));
    expect(bench().settle()).toBeLessThan(20);
    expect(driver.reap()).toBe(1);
    expect(receive(network[0])).toBeNull();
    expect(driver.take()).toBeNull();
    bench().command("set-link", { up: true });
    bench().settle();
    expect(driver.take()?.bytes).toHaveLength(200);
    driver.send(frame(100));
    bench().settle();
    expect(receive(network[0])).toEqual(packet(frame(100)));
    expect(info(bench()).linkUp).toBe(true);
  });

  it("takes the link down when the network goes away, and does not spin", async () => {
    const { driver, network, bench } = await make(MERGEABLE);
    driver.offer(1600, 1600);
    bench().settle();
    network[0]?.close();
    expect(bench().settle()).toBeLessThan(10);
    expect(bench().events.map(({ name }) => name)).toEqual(["link-lost"]);
    expect(linkUp(bench())).toBe(false);
    driver.send(frame(100));
    expect(bench().settle()).toBeLessThan(10);
    expect(driver.reap()).toBe(1);
    bench().command("set-link", { up: true });
    expect(bench().settle()).toBeLessThan(10);
    expect(info(bench()).lost).not.toBeNull();
    expect(bench().status & 0x40).toBe(0);
  });

  it("keeps to a limit both ways", async () => {
    const limits = { receive: { packetsPerSecond: 100 }, transmit: { bytesPerSecond: 20_000 } };
    const { driver, network, bench } = await make(MERGEABLE, { limits });
    driver.offer(...Array.from({ length: 30 }, () => 700));
    for (let i = 0; i < 30; i++) send(network[0], packet(frame(100)));
    for (let i = 0; i < 30; i++) driver.queue(packet(frame(200)));
    driver.flush();
    const began = performance.now();
    let received = 0;
    let sent = 0;
    for (; received < 30 || sent < 30; bench().turn(20)) {
      received += driver.takeAll().length;
      sent += driver.reap();
      if (performance.now() - began > 3000) break;
    }
    const elapsed = performance.now() - began;
    expect([received, sent]).toEqual([30, 30]);
    // 30 packets at 100 a second, and 6000 bytes at 20000 a second, less the burst of 0.1 s.
    expect(elapsed).toBeGreaterThan(150);
    expect(elapsed).toBeLessThan(1500);
  });

  it("asks the guest to announce itself", async () => {
    const { driver, bench } = await make(USUAL);
    expect(bench().command("announce")).toBe(true);
    expect(bench().read(0x106, 2) & 2).toBe(2);
    expect(driver.control(2, Uint8Array.of(3, 0))).toBe(0);
    expect(bench().read(0x106, 2) & 2).toBe(0);
  });

  it("obeys the control queue, and refuses nonsense", async () => {
    const { driver, bench } = await make(USUAL);
    const command = (...bytes: number[]) => driver.control(2, Uint8Array.from(bytes));
    expect(command(0, 0, 0)).toBe(0);
    expect(command(0, 1, 1)).toBe(0);
    expect(command(1, 1, 0x52, 0x54, 0, 9, 9, 9)).toBe(0);
    expect(command(1, 1, 0x53, 0x54, 0, 9, 9, 9)).toBe(1);
    expect(command(1, 1, 0x52, 0x54, 0, 9, 9)).toBe(1);
    expect(command(1, 0, ...[1, 0, 0, 0], ...[2, 1, 1, 1, 1, 1], ...[1, 0, 0, 0], ...[3, 1, 1, 1, 1])).toBe(1);
    expect(command(1, 0, ...[1, 0, 0, 0], ...[2, 1, 1, 1, 1, 1], ...[0, 0, 0, 0], 3)).toBe(1);
    expect(command(1, 0, ...[1, 0, 0, 0], ...[2, 1, 1, 1, 1, 1], ...[1, 0, 0, 0], ...[3, 1, 1, 1, 1, 1])).toBe(0);
    expect(command(1, 0, 255, 255, 255, 255)).toBe(1);
    expect(command(4, 0, 1, 0)).toBe(1);
    expect(command(5, 0, 1, 0, 0, 0, 0, 0, 0, 0)).toBe(1);
    expect(command(9, 9)).toBe(1);
    expect(command(0)).toBe(1);
    const { mac, filter } = info(bench());
    expect(mac).toBe("52:54:00:09:09:09");
    expect(filter).toEqual({
      promiscuous: false,
      allMulticast: true,
      unicast: ["02:01:01:01:01:01"],
      multicast: ["03:01:01:01:01:01"],
      overflow: false,
    });
    // A reset brings the first address back.
    bench().write(0x70, 0);
    expect(info(bench()).mac).toBe("52:54:00:01:02:03");
  });

  it("uses as many pairs of queues as the driver asks for", async () => {
    const { driver, network, bench } = await make(MERGEABLE | bit(VIRTIO_NET_F_MQ), { pairs: 3 });
    expect(bench().read(0x108, 2)).toBe(3);
    const second = new NetDriver(bench(), 1);
    second.offer(1600, 1600);
    send(network[1], packet(frame(100)));
    second.send(frame(100));
    bench().settle();
    expect(second.take()).toBeNull();
    expect(receive(network[1])).toBeNull();
    expect(driver.control(6, Uint8Array.of(4, 0, 2, 0))).toBe(0);
    bench().settle();
    expect(second.take()?.bytes).toHaveLength(100);
    second.send(frame(60));
    bench().settle();
    expect(receive(network[1])).toEqual(packet(frame(60)));
    expect(driver.control(6, Uint8Array.of(4, 0, 4, 0))).toBe(1);
    expect(driver.control(6, Uint8Array.of(4, 0, 0, 0))).toBe(1);
    await driver.move(bench().save());
    bench().call("resume");
    expect(info(bench()).pairs).toBe(2);
  });

  it("has its control queue after the first pair without MQ", async () => {
    const { driver, bench } = await make(MERGEABLE, { pairs: 2 });
    expect(driver.control(2, Uint8Array.of(0, 0, 0))).toBe(0);
    expect(info(bench()).filter.promiscuous).toBe(false);
  });

  it("refuses states that cannot be", async () => {
    const { bench } = await make(MERGEABLE);
    const state = bench().save();
    const device = state.device as NetState;
    const bad: Partial<Record<keyof NetState, unknown>>[] = [
      { mac: new Uint8Array(5) },
      { mtu: -1 },
      { linkUp: 1 },
      { pairs: 2 },
      { pairs: 0 },
      { offloads: 1n << 40n },
      { pending: [] },
      { pending: [null] },
      { pending: [[new Uint8Array(3)]] },
      { filter: null },
      { filter: { ...device.filter, unicast: [new Uint8Array(7)] } },
    ];
    for (const change of bad) {
      const field = Object.keys(change)[0] as string;
      const load = () => bench().call("load", { ...state, device: { ...device, ...change } });
      expect(load).toThrow(expect.objectContaining({ code: "DEVICE_STATE", message: expect.stringContaining(field) }));
    }
    bench().call("load", state);
    bench().call("resume");
  });
});
