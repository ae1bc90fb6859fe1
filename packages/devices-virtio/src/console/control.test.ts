import { type Fd, send, socketpair } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import {
  consolePort,
  consoleRings,
  consoleWorld,
  drained,
  eventsOf,
  inputOf,
  plain,
  receiveQueue,
  transmitQueue,
} from "../../test/support/console-guest.js";
import { CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE } from "./config.js";
import { CONSOLE_PORT, DEVICE_ADD, DEVICE_READY, PORT_NAME, PORT_OPEN, PORT_READY, RESIZE } from "./control.js";
import type { ConsolePortInfo } from "./port.js";

const [[, SPLIT]] = consoleRings;

const { chardev, close, guestWith, keep } = consoleWorld();
afterEach(close);

describe.each(consoleRings)("control messages (%s)", (_, kind) => {
  it("bring up ports, in the order that drivers wait for", async () => {
    const guest = await guestWith([consolePort(0, { kind: "null" }), consolePort(2, { kind: "null" })], kind);
    expect(guest.bench.read(0x104)).toBe(3);
    guest.say(0, DEVICE_READY, 1);
    expect(plain(guest.hear())).toEqual([
      [0, DEVICE_ADD, 0, ""],
      [2, DEVICE_ADD, 0, ""],
    ]);
    guest.bench.command("resize", { columns: 80, rows: 25 });
    guest.say(0, PORT_READY, 1);
    expect(plain(guest.hear())).toEqual([
      [0, CONSOLE_PORT, 1, ""],
      [0, RESIZE, 0, "\x50\0\x19\0"],
      [0, PORT_OPEN, 1, ""],
    ]);
    guest.say(2, PORT_READY, 1);
    expect(plain(guest.hear())).toEqual([
      [2, PORT_NAME, 1, "port.2"],
      [2, PORT_OPEN, 1, ""],
    ]);
    guest.say(2, PORT_OPEN, 1);
    guest.say(2, PORT_OPEN, 1);
    guest.say(2, PORT_OPEN, 0);
    expect(eventsOf(guest)).toEqual([
      'port-changed {"port":"p2","open":true}',
      'port-changed {"port":"p2","open":false}',
    ]);
    guest.bench.command("resize", { port: "p0", columns: 132, rows: 50 });
    guest.bench.settle();
    expect(plain(guest.hear())).toEqual([[0, RESIZE, 0, "\x84\0\x32\0"]]);
    expect(guest.bench.read(0x100)).toBe(132 + 50 * 65536);
  });

  it("wait, bounded, for a driver that gives no buffers", async () => {
    const guest = await guestWith([consolePort(1, chardev({ kind: "null" }).endpoint)], kind, { mute: true });
    for (let i = 0; i < 100; i++) {
      guest.say(0, DEVICE_READY, 1);
      guest.say(1, PORT_READY, 1);
    }
    const { outbox } = guest.bench.save().device as { outbox: unknown[] };
    expect(outbox.length).toBeLessThanOrEqual(6);
    guest.bench.call("resume");
    guest.supply(CONTROL_RECEIVE_QUEUE, 8, 64);
    guest.bench.settle();
    expect(plain(guest.hear()).map(([, event]) => event)).toEqual([DEVICE_ADD, PORT_NAME, PORT_OPEN]);
  });

  it("that are hostile do nothing", async () => {
    const guest = await guestWith([consolePort(0, { kind: "null" }), consolePort(1, { kind: "null" })], kind);
    for (const nr of [2, 30, 31, 0xffff_ffff]) for (let event = 0; event < 10; event++) guest.say(nr, event, 0xffff);
    for (let event = 8; event < 70; event++) guest.say(1, event, 1);
    guest.say(1, DEVICE_ADD, 1);
    guest.say(0, DEVICE_READY, 0);
    guest.send(CONTROL_TRANSMIT_QUEUE, new Uint8Array(3));
    guest.add(CONTROL_TRANSMIT_QUEUE, 64);
    guest.bench.kick(CONTROL_TRANSMIT_QUEUE);
    guest.bench.settle();
    expect(guest.hear()).toEqual([]);
    expect(guest.bench.events).toEqual([]);
    expect(guest.bench.status).toBe(0x0f);
  });

  it("need a buffer that holds one", async () => {
    const guest = await guestWith([consolePort(1, { kind: "null" })], kind, { mute: true });
    guest.supply(CONTROL_RECEIVE_QUEUE, 1, 7);
    guest.say(0, DEVICE_READY, 1);
    expect(guest.bench.status & 0x40).toBe(0x40);
    expect(eventsOf(guest)[0]).toMatch(/needs-reset.*too short/);
  });
});

it("reports of ports that are opened and closed all the time are bounded, and end with the truth", async () => {
  const guest = await guestWith([consolePort(1, { kind: "null" })]);
  guest.open(1, { open: false });
  for (let i = 1; i <= 501; i++) guest.say(1, PORT_OPEN, i % 2);
  const last = () => guest.bench.events[guest.bench.events.length - 1]?.data;
  guest.until(() => JSON.stringify(last()) === '{"port":"p1","open":true}', "the last report");
  expect(guest.bench.events.length).toBeLessThan(450);
});

describe("without MULTIPORT", () => {
  it("there is port 0 alone, open from the start; sizes are told in the configuration", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith(
      [consolePort(0, { kind: "connection", fd: theirs.raw }), consolePort(1, { kind: "null" })],
      SPLIT,
      {
        features: 5n,
      },
    );
    guest.supply(receiveQueue(0), 4, 64);
    send(mine, Buffer.from("in"));
    expect(guest.until(() => inputOf(guest, 0), "the input")).toBe("in");
    guest.send(transmitQueue(0), Buffer.from("out"));
    guest.send(transmitQueue(1), Buffer.from("no"));
    guest.bench.settle();
    expect(drained(mine).toString()).toBe("out");
    expect(guest.take(transmitQueue(1))).toEqual([]);
    const generation = guest.bench.read(0xfc);
    guest.bench.command("resize", { columns: 100, rows: 30 });
    expect(guest.bench.read(0xfc)).toBe(generation + 1);
    expect(guest.bench.read(0x100)).toBe(100 + 30 * 65536);
  });

  it("a character can be written before there is a driver", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([consolePort(0, { kind: "connection", fd: theirs.raw })]);
    guest.bench.write(0x70, 0);
    for (const letter of "oops") guest.bench.write(0x108, letter.charCodeAt(0));
    guest.bench.settle();
    expect(drained(mine).toString()).toBe("oops");
  });
});

it("a reset closes ports, and the driver comes up again", async () => {
  const guest = await guestWith([consolePort(1, { kind: "null" })]);
  guest.open(1);
  guest.bench.write(0x70, 0);
  expect(eventsOf(guest)).toEqual([
    'port-changed {"port":"p1","open":true}',
    'port-changed {"port":"p1","open":false}',
  ]);
  guest.up(SPLIT);
  guest.supply(CONTROL_RECEIVE_QUEUE, 8, 64);
  guest.open(1);
  expect((guest.bench.command("ports") as ConsolePortInfo[])[0]).toEqual({
    ...{ id: "p1", nr: 1, name: "port.1", console: false, label: "l", filename: "f" },
    ...{ connected: true, open: true, columns: 0, rows: 0 },
  });
});
