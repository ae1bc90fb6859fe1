import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  connect,
  type Fd,
  O_NOCTTY,
  O_RDWR,
  open,
  recv,
  send,
  setNonblocking,
  shutdown,
  socketpair,
  tryRead,
  tryRecv,
  trySend,
  tryWrite,
} from "@baton/linux";
import { afterAll, afterEach, describe, expect, it } from "@jest/globals";
import { CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE } from "../src/console/config.js";
import {
  CONSOLE_PORT,
  DEVICE_ADD,
  DEVICE_READY,
  PORT_NAME,
  PORT_OPEN,
  PORT_READY,
  RESIZE,
} from "../src/console/control.js";
import type { ConsolePortOptions } from "../src/console/port.js";
import type { ChardevBackend, CharEndpoint, ConsolePortInfo, VirtioState } from "../src/index.js";
import { type OpenedChardev, openChardev, virtioConsole } from "../src/index.js";
import { ConsoleGuest, receiveQueue, transmitQueue } from "./support/console-guest.js";
import { features } from "./support/world.js";

const directory = mkdtempSync("/tmp/console-");
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
const fresh = () => join(directory, `f${files++}`);
const keep = <T extends { close(): void }>(thing: T): T => {
  closing.push(() => thing.close());
  return thing;
};
const chardev = (backend: ChardevBackend): OpenedChardev => keep(openChardev("c", backend));
const rings = [
  ["split", features({ indirect: true, eventIndex: true })],
  ["packed", features({ packed: true, eventIndex: true })],
  ["split without event index", features()],
] as const;
const split = rings[0][1];

const port = (nr: number, endpoint: CharEndpoint, more: Partial<ConsolePortOptions> = {}): ConsolePortOptions => ({
  ...{ id: `p${nr}`, nr, name: nr === 0 ? "" : `port.${nr}`, console: nr === 0, label: "l", filename: "f" },
  endpoint,
  ...more,
});

async function guestWith(
  ports: readonly ConsolePortOptions[],
  kind = split,
  more: Parameters<typeof ConsoleGuest.start>[2] = {},
): Promise<ConsoleGuest> {
  const maxPorts = Math.max(...ports.map(({ nr }) => nr)) + 1;
  const guest = await ConsoleGuest.start({ ports, maxPorts, resizeOrder: "columns-first" }, kind, more);
  closing.push(() => guest[Symbol.dispose]());
  return guest;
}

const plain = (messages: ReturnType<ConsoleGuest["hear"]>) =>
  messages.map(({ port, event, value, payload }) => [port, event, value, payload.toString("latin1")]);
const names = (guest: ConsoleGuest) => guest.bench.events.map(({ name, data }) => `${name} ${JSON.stringify(data)}`);
const text = (guest: ConsoleGuest, nr: number) => Buffer.concat(guest.take(receiveQueue(nr))).toString("latin1");
const client = (path: string): Fd => keep(connect({ kind: "unix", path }, { nonblock: true }));
/** What a peer has been sent. */
function drained(fd: Fd): Buffer {
  const found: Buffer[] = [];
  const buffer = Buffer.alloc(1 << 16);
  for (let count = tryRead(fd.raw, buffer); count > 0; count = tryRead(fd.raw, buffer)) {
    found.push(Buffer.from(buffer.subarray(0, count)));
  }
  return Buffer.concat(found);
}
const ended = (fd: Fd) => tryRecv(fd.raw, new Uint8Array(1)) === 0;

describe.each(rings)("control messages (%s)", (_, kind) => {
  it("bring up ports, in the order that drivers wait for", async () => {
    const guest = await guestWith([port(0, { kind: "null" }), port(2, { kind: "null" })], kind);
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
    expect(names(guest)).toEqual(['port-changed {"port":"p2","open":true}', 'port-changed {"port":"p2","open":false}']);
    guest.bench.command("resize", { port: "p0", columns: 132, rows: 50 });
    guest.bench.settle();
    expect(plain(guest.hear())).toEqual([[0, RESIZE, 0, "\x84\0\x32\0"]]);
    expect(guest.bench.read(0x100)).toBe(132 + 50 * 65536);
  });

  it("wait, bounded, for a driver that gives no buffers", async () => {
    const guest = await guestWith([port(1, chardev({ kind: "null" }).endpoint)], kind, { mute: true });
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
    const guest = await guestWith([port(0, { kind: "null" }), port(1, { kind: "null" })], kind);
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
    const guest = await guestWith([port(1, { kind: "null" })], kind, { mute: true });
    guest.supply(CONTROL_RECEIVE_QUEUE, 1, 7);
    guest.say(0, DEVICE_READY, 1);
    expect(guest.bench.status & 0x40).toBe(0x40);
    expect(names(guest)[0]).toMatch(/needs-reset.*too short/);
  });
});

it("reports of ports that are opened and closed all the time are bounded, and end with the truth", async () => {
  const guest = await guestWith([port(1, { kind: "null" })]);
  guest.open(1, { open: false });
  for (let i = 1; i <= 501; i++) guest.say(1, PORT_OPEN, i % 2);
  const last = () => guest.bench.events[guest.bench.events.length - 1]?.data;
  guest.until(() => JSON.stringify(last()) === '{"port":"p1","open":true}', "the last report");
  expect(guest.bench.events.length).toBeLessThan(450);
});

describe.each(rings)("a socket (%s)", (_, kind) => {
  it("tells the guest who comes and goes, and carries bytes both ways", async () => {
    const path = fresh();
    const guest = await guestWith([port(1, chardev({ kind: "unix", path }).endpoint)], kind);
    expect(plain(guest.open(1))).toEqual([[1, PORT_NAME, 1, "port.1"]]);
    guest.supply(receiveQueue(1), 4, 64);
    for (const word of ["first", "second", "third"]) {
      const peer = client(path);
      send(peer, Buffer.from(word));
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 1 });
      expect(guest.until(() => text(guest, 1), "the input")).toBe(word);
      expect(guest.send(transmitQueue(1), Buffer.from(`${word}!`))).toBe(true);
      expect(guest.until(() => drained(peer).toString(), "the output")).toBe(`${word}!`);
      expect(guest.take(transmitQueue(1))).toHaveLength(1);
      const second = client(path);
      guest.until(() => ended(second), "the end of a client too many");
      peer.close();
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 0 });
      guest.supply(receiveQueue(1), 1, 64);
    }
    expect(names(guest).filter((name) => name.includes("connected"))).toHaveLength(6);
  });

  it("drops what is sent while nobody is there", async () => {
    const path = fresh();
    const guest = await guestWith([port(1, chardev({ kind: "unix", path }).endpoint)], kind);
    guest.open(1);
    guest.send(transmitQueue(1), Buffer.from("lost"));
    guest.bench.settle();
    expect(guest.take(transmitQueue(1))).toHaveLength(1);
    const peer = client(path);
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    guest.send(transmitQueue(1), Buffer.from("kept"));
    expect(guest.until(() => drained(peer).toString(), "the output")).toBe("kept");
  });

  it("keeps input for a program that opens the port later, and from a peer that has gone by then", async () => {
    const path = fresh();
    const guest = await guestWith([port(1, chardev({ kind: "unix", path }).endpoint)], kind);
    guest.open(1, { open: false });
    guest.supply(receiveQueue(1), 4, 64);
    const peer = client(path);
    send(peer, Buffer.from("early"));
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    guest.bench.settle();
    expect(text(guest, 1)).toBe("");
    guest.say(1, PORT_OPEN, 1);
    expect(guest.until(() => text(guest, 1), "the input")).toBe("early");
    // The other buffers are taken too: what comes now waits, also for its sender's end, and the next one waits behind.
    send(peer, Buffer.from("x".repeat(64 * 3)));
    guest.until(() => guest.bench.turn(20) === false, "rest");
    send(peer, Buffer.from("last words"));
    peer.close();
    const next = client(path);
    send(next, Buffer.from("next"));
    for (let i = 0; i < 5; i++) guest.bench.turn(10);
    expect(guest.hear()).toEqual([]);
    expect(text(guest, 1)).toBe("x".repeat(64 * 3));
    guest.supply(receiveQueue(1), 4, 64);
    expect(guest.until(() => text(guest, 1), "the rest")).toBe("last words");
    expect(guest.until(() => text(guest, 1), "the next one's input")).toBe("next");
    expect(plain(guest.hear()).map(([, event, value]) => [event, value])).toEqual([
      [PORT_OPEN, 0],
      [PORT_OPEN, 1],
    ]);
  });

  it("lets a peer go that nobody listens to", async () => {
    const path = fresh();
    const guest = await guestWith([port(1, chardev({ kind: "unix", path }).endpoint)], kind);
    guest.open(1, { open: false });
    for (let i = 0; i < 3; i++) {
      const peer = client(path);
      send(peer, Buffer.from("anybody?"));
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 1 });
      peer.close();
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 0 });
    }
  });

  it("holds the guest's buffers for a reader that does not read, and loses nothing", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([port(1, { kind: "connection", fd: theirs.raw })], kind);
    guest.open(1);
    const total = 2_000_000;
    const chunk = 60_000;
    let sent = 0;
    let got = 0;
    let held = 0;
    const bytes = (from: number, length: number) =>
      Uint8Array.from({ length }, (_, i) => ((from + i) * 7 + ((from + i) >> 8)) & 0xff);
    while (got < total) {
      while (sent < total && guest.send(transmitQueue(1), bytes(sent, Math.min(chunk, total - sent)))) {
        sent += Math.min(chunk, total - sent);
      }
      guest.bench.settle();
      held += guest.bench.turn() ? 0 : 1;
      guest.take(transmitQueue(1));
      const buffer = Buffer.alloc(50_001);
      const count = tryRecv(mine.raw, buffer);
      if (count <= 0) continue;
      expect(buffer.subarray(0, count).equals(bytes(got, count))).toBe(true);
      got += count;
    }
    expect(held).toBeGreaterThan(10);
  });

  it("that ends while the guest is held lets it go on", async () => {
    const path = fresh();
    const guest = await guestWith([port(1, chardev({ kind: "unix", path }).endpoint)], kind);
    guest.open(1);
    const peer = client(path);
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    let sent = 0;
    while (guest.send(transmitQueue(1), new Uint8Array(100_000))) sent++;
    guest.bench.settle();
    const before = guest.take(transmitQueue(1)).length;
    expect(before).toBeLessThan(sent);
    peer.close();
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    guest.bench.settle();
    expect(before + guest.take(transmitQueue(1)).length).toBe(sent);
    // The next peer does not get half a message.
    const next = client(path);
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    guest.send(transmitQueue(1), Buffer.from("whole"));
    expect(guest.until(() => drained(next).toString(), "the output")).toBe("whole");
  });
});

it("a connection to somebody else's socket ends for good", async () => {
  const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
  const guest = await guestWith([port(1, { kind: "connection", fd: theirs.raw })]);
  expect(plain(guest.open(1))).toHaveLength(2);
  guest.supply(receiveQueue(1), 4, 64);
  send(mine, Buffer.from("bye"));
  shutdown(mine, "both");
  expect(guest.until(() => text(guest, 1), "the input")).toBe("bye");
  expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 0 });
  guest.send(transmitQueue(1), Buffer.from("into the void"));
  guest.bench.settle();
  expect(guest.take(transmitQueue(1))).toHaveLength(1);
});

it("a pseudo-terminal's other side comes and goes", async () => {
  const { endpoint, path = "" } = chardev({ kind: "pty" });
  const guest = await guestWith([port(0, endpoint)]);
  expect(plain(guest.open(0))).toEqual([[0, CONSOLE_PORT, 1, ""]]);
  guest.supply(receiveQueue(0), 8, 64);
  guest.send(transmitQueue(0), Buffer.from("nobody"));
  for (const word of ["first", "second"]) {
    const slave = open(path, O_RDWR | O_NOCTTY);
    setNonblocking(slave, true);
    expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 1 });
    tryWrite(slave.raw, Buffer.from(word));
    expect(guest.until(() => text(guest, 0), "the input")).toBe(word);
    guest.send(transmitQueue(0), Buffer.from(`${word}\n\x04!`));
    expect(guest.until(() => drained(slave).toString("latin1"), "the output")).toBe(`${word}\n\x04!`);
    slave.close();
    expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 0 });
  }
});

it("files are read and written from end to end", async () => {
  const [input, output] = [fresh(), fresh()];
  const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 13 + (i >> 7)) & 0xff));
  writeFileSync(input, bytes);
  const reading = openSync(input, "r");
  const guest = await guestWith([
    port(0, { kind: "fds", inputFd: reading, outputFd: -1 }),
    port(1, chardev({ kind: "file", path: output }).endpoint),
  ]);
  guest.open(0);
  guest.open(1);
  const found: Buffer[] = [];
  for (let got = 0; got < bytes.length; ) {
    guest.supply(receiveQueue(0), 16, 999);
    guest.bench.turn();
    for (const part of guest.take(receiveQueue(0))) {
      found.push(part);
      got += part.length;
      guest.send(transmitQueue(1), part);
      guest.bench.settle();
      guest.take(transmitQueue(1));
    }
  }
  guest.bench.settle();
  expect(Buffer.concat(found).equals(bytes)).toBe(true);
  expect(readFileSync(output).equals(bytes)).toBe(true);
});

it("descriptors that block are never waited for", async () => {
  const [mine, theirs] = socketpair({ nonblock: false }).map(keep) as [Fd, Fd];
  setNonblocking(mine, true);
  const guest = await guestWith([port(0, { kind: "fds", inputFd: theirs.raw, outputFd: theirs.raw })]);
  guest.open(0);
  guest.supply(receiveQueue(0), 8, 64);
  send(mine, Buffer.from("typed"));
  expect(guest.until(() => text(guest, 0), "the input")).toBe("typed");
  let got = 0;
  for (let i = 0; i < 8; i++) guest.send(transmitQueue(0), new Uint8Array(120_000));
  guest.bench.settle();
  guest.until(() => {
    got += drained(mine).length;
    return got === 960_000;
  }, "the output");
});

describe("without MULTIPORT", () => {
  it("there is port 0 alone, open from the start; sizes are told in the configuration", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([port(0, { kind: "connection", fd: theirs.raw }), port(1, { kind: "null" })], split, {
      features: 5n,
    });
    guest.supply(receiveQueue(0), 4, 64);
    send(mine, Buffer.from("in"));
    expect(guest.until(() => text(guest, 0), "the input")).toBe("in");
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
    const guest = await guestWith([port(0, { kind: "connection", fd: theirs.raw })]);
    guest.bench.write(0x70, 0);
    for (const letter of "oops") guest.bench.write(0x108, letter.charCodeAt(0));
    guest.bench.settle();
    expect(drained(mine).toString()).toBe("oops");
  });
});

it("a reset closes ports, and the driver comes up again", async () => {
  const guest = await guestWith([port(1, { kind: "null" })]);
  guest.open(1);
  guest.bench.write(0x70, 0);
  expect(names(guest)).toEqual(['port-changed {"port":"p1","open":true}', 'port-changed {"port":"p1","open":false}']);
  guest.up(split);
  guest.supply(CONTROL_RECEIVE_QUEUE, 8, 64);
  guest.open(1);
  expect((guest.bench.command("ports") as ConsolePortInfo[])[0]).toEqual({
    ...{ id: "p1", nr: 1, name: "port.1", console: false, label: "l", filename: "f" },
    ...{ connected: true, open: true, columns: 0, rows: 0 },
  });
});

describe.each(rings)("the state (%s)", (_, kind) => {
  it("moves 20 times in the middle of two streams, without a gap or a byte twice", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([port(1, { kind: "connection", fd: theirs.raw })], kind);
    guest.open(1);
    const counter = (from: number, words: number) =>
      new Uint8Array(Uint32Array.from({ length: words }, (_, i) => from + i).buffer);
    const check = (bytes: Buffer, from: number) => {
      for (let i = 0; i < bytes.length; i++) {
        const word = (from + i) >>> 2;
        if (bytes[i] !== ((word >>> (8 * ((from + i) & 3))) & 0xff)) throw new Error(`byte ${from + i} is wrong`);
      }
      return from + bytes.length;
    };
    let [toGuest, fromGuest, peerSent, guestSent, moves, partial] = [0, 0, 0, 0, 0, 0];
    let waiting = Buffer.alloc(0);
    for (let round = 0; moves < 20; round++) {
      while (guest.send(transmitQueue(1), counter(guestSent, 30_000))) guestSent += 30_000;
      guest.supply(receiveQueue(1), 5, 777);
      if (waiting.length === 0) {
        waiting = Buffer.from(counter(peerSent, 3000));
        peerSent += 3000;
      }
      const went = trySend(mine.raw, waiting);
      if (went > 0) waiting = waiting.subarray(went);
      for (let i = 0; i < round % 4; i++) guest.bench.turn();
      if (round % 3 === 2) {
        const state = guest.bench.save();
        const { ports } = state.device as { ports: { offset: number }[] };
        if ((ports[0]?.offset ?? 0) > 0) partial++;
        const again = structuredClone(state);
        await guest.move(() => again);
        moves++;
      }
      const buffer = Buffer.alloc(30_000 + round * 17);
      const count = tryRecv(mine.raw, buffer);
      if (count > 0) fromGuest = check(buffer.subarray(0, count), fromGuest);
      guest.take(transmitQueue(1));
      for (const part of guest.take(receiveQueue(1))) toGuest = check(part, toGuest);
    }
    guest.until(() => {
      guest.take(transmitQueue(1));
      guest.supply(receiveQueue(1), 5, 777);
      fromGuest = check(drained(mine), fromGuest);
      for (const part of guest.take(receiveQueue(1))) toGuest = check(part, toGuest);
      return fromGuest === guestSent * 4 && toGuest === peerSent * 4 - waiting.length;
    }, "the end of both streams");
    expect(partial).toBeGreaterThan(0);
  });

  it("has the messages that wait, and tells who has come and gone meanwhile", async () => {
    const path = fresh();
    const opened = chardev({ kind: "unix", path });
    const guest = await guestWith([port(0, { kind: "null" }), port(1, opened.endpoint)], kind, { mute: true });
    guest.say(0, DEVICE_READY, 1);
    guest.say(1, PORT_READY, 1);
    guest.bench.command("resize", { columns: 90, rows: 40 });
    await guest.move();
    guest.supply(CONTROL_RECEIVE_QUEUE, 16, 64);
    guest.bench.settle();
    expect(plain(guest.hear())).toEqual([
      [0, DEVICE_ADD, 0, ""],
      [1, DEVICE_ADD, 0, ""],
      [1, PORT_NAME, 1, "port.1"],
    ]);
    expect(guest.bench.read(0x100)).toBe(90 + 40 * 65536);
    const peer = client(path);
    expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 1 });
    // The client of the old device has gone with it.
    await guest.move();
    guest.until(() => ended(peer), "its end");
    expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 0 });
  });
});

it("nothing is read, written or accepted between quiesce and resume", async () => {
  const path = fresh();
  const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
  const guest = await guestWith([
    port(1, { kind: "connection", fd: theirs.raw }),
    port(2, chardev({ kind: "unix", path }).endpoint),
  ]);
  guest.open(1);
  guest.open(2);
  guest.supply(receiveQueue(1), 4, 64);
  guest.bench.save();
  send(mine, Buffer.from("later"));
  client(path);
  guest.bench.events.length = 0;
  for (let i = 0; i < 5; i++) guest.bench.turn(10);
  expect(guest.bench.events).toEqual([]);
  expect(text(guest, 1)).toBe("");
  guest.bench.call("resume");
  expect(guest.until(() => text(guest, 1), "the input")).toBe("later");
  expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ port: 2, value: 1 });
});

describe("a hostile state", () => {
  const spoil: readonly (readonly [string, (device: Record<string, unknown>) => unknown, RegExp])[] = [
    ["no ports", () => ({ ports: [], outbox: [] }), /device\/ports: the state has ports \[\]/],
    ["ports that are none", () => ({ ports: 7, outbox: [] }), /device\/ports: must be a list/],
    [
      "an offset",
      (device) => (((device.ports as { offset: number }[])[0] as { offset: number }).offset = -1),
      /ports\[0\]\/offset/,
    ],
    [
      "a message to nobody",
      (device) => (device.outbox = [{ port: 9, event: 1, value: 0 }]),
      /outbox\[0\]\/port: there is no port 9/,
    ],
    ["too many messages", (device) => (device.outbox = Array(1000).fill({})), /outbox: must be a list/],
  ];
  it.each(spoil)("with %s is refused by name", async (_, change, message) => {
    const guest = await guestWith([port(1, { kind: "null" })]);
    guest.open(1);
    const state = guest.bench.save();
    const device = structuredClone(state.device) as Record<string, unknown>;
    const changed = change(device);
    const spoilt = { ...state, device: typeof changed === "object" && !Array.isArray(changed) ? changed : device };
    expect(() => guest.bench.call("load", spoilt as VirtioState)).toThrow(message);
  });

  it("with an offset beyond the guest's buffer does no harm", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([port(1, { kind: "connection", fd: theirs.raw })]);
    guest.open(1);
    await guest.move((state) => {
      const device = state.device as { ports: Record<string, unknown>[] };
      return { ...state, device: { ...device, ports: [{ ...device.ports[0], offset: 1e9 }] } };
    });
    guest.send(transmitQueue(1), Buffer.from("skipped"));
    guest.send(transmitQueue(1), Buffer.from("sent"));
    guest.bench.settle();
    expect(drained(mine).toString()).toBe("sent");
  });
});

it("a buffer for input that cannot be written breaks the queue, and nothing else", async () => {
  const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
  const guest = await guestWith([port(1, { kind: "connection", fd: theirs.raw })]);
  guest.open(1);
  guest.send(receiveQueue(1), new Uint8Array(8));
  send(mine, Buffer.from("x"));
  guest.until(() => (guest.bench.status & 0x40) !== 0, "DEVICE_NEEDS_RESET");
  expect(recv(theirs, new Uint8Array(1))).toBe(1);
});

describe("virtioConsole", () => {
  const backend = { kind: "null" } as const;
  const make = (ports: Parameters<typeof virtioConsole>[0]["ports"], maxPorts?: number) =>
    virtioConsole({ id: "c", ports, ...(maxPorts !== undefined && { maxPorts }) });

  it("numbers its ports", () => {
    const description = make([
      { id: "a", console: false, backend },
      { id: "b", console: true, backend },
      { id: "c", console: false, nr: 2, backend },
      { id: "d", console: false, backend },
    ]);
    expect(description.queues).toBe(10);
    const opened = description.open((_name, _id, open) => open(), { ramBytes: 0 });
    const { ports } = opened.options as { ports: readonly ConsolePortOptions[] };
    expect(ports.map(({ id, nr }) => `${id}${nr}`)).toEqual(["a1", "b0", "c2", "d3"]);
    opened.close(false);
  });

  it.each([
    [[{ id: "a", console: false, nr: 0, backend }], /number 0 is for a console/],
    [
      [
        { id: "a", console: true, nr: 1, backend },
        { id: "b", console: true, nr: 1, backend },
      ],
      /number 1 is taken/,
    ],
    [[{ id: "a", console: true, nr: 31, backend }], /must be 0 to 30/],
    [
      [
        { id: "a", console: true, backend },
        { id: "a", console: true, backend },
      ],
      /two ports 'a'/,
    ],
    [[{ id: "a", console: true, name: "n".repeat(256), backend }], /more than 255 bytes/],
    [Array.from({ length: 32 }, (_, i) => ({ id: `${i}`, console: true, backend })), /no place for port '31'/],
  ])("refuses %#", (ports, message) => {
    expect(() => make(ports)).toThrow(message);
  });

  it("names what it cannot open, and leaves nothing behind", () => {
    const path = fresh();
    const description = make([
      { id: "a", console: false, backend: { kind: "unix", path } },
      { id: "b", console: false, backend: { kind: "unix-client", path: `${path}-none` } },
    ]);
    expect(() => description.open((_name, _id, open) => open(), { ramBytes: 0 })).toThrow(`socket ${path}-none`);
    expect(() => client(path)).toThrow();
  });
});
