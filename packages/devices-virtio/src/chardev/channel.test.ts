import { openSync, readFileSync, writeFileSync } from "node:fs";
import {
  type Fd,
  O_NOCTTY,
  O_RDWR,
  open,
  send,
  setNonblocking,
  shutdown,
  socketpair,
  tryRecv,
  tryWrite,
} from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import {
  consolePort,
  consoleRings,
  consoleWorld,
  drained,
  ended,
  eventsOf,
  inputOf,
  plain,
  receiveQueue,
  transmitQueue,
} from "../../test/support/console-guest.js";
import { CONSOLE_PORT, PORT_NAME, PORT_OPEN } from "../console/control.js";

const { chardev, client, close, fresh, guestWith, keep } = consoleWorld();
afterEach(close);

describe.each(consoleRings)("a socket (%s)", (_, kind) => {
  it("tells the guest who comes and goes, and carries bytes both ways", async () => {
    const path = fresh();
    const guest = await guestWith([consolePort(1, chardev({ kind: "unix", path }).endpoint)], kind);
    expect(plain(guest.open(1))).toEqual([[1, PORT_NAME, 1, "port.1"]]);
    guest.supply(receiveQueue(1), 4, 64);
    for (const word of ["first", "second", "third"]) {
      const peer = client(path);
      send(peer, Buffer.from(word));
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 1 });
      expect(guest.until(() => inputOf(guest, 1), "the input")).toBe(word);
      expect(guest.send(transmitQueue(1), Buffer.from(`${word}!`))).toBe(true);
      expect(guest.until(() => drained(peer).toString(), "the output")).toBe(`${word}!`);
      expect(guest.take(transmitQueue(1))).toHaveLength(1);
      const second = client(path);
      guest.until(() => ended(second), "the end of a client too many");
      peer.close();
      expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 0 });
      guest.supply(receiveQueue(1), 1, 64);
    }
    expect(eventsOf(guest).filter((name) => name.includes("connected"))).toHaveLength(6);
  });

  it("drops what is sent while nobody is there", async () => {
    const path = fresh();
    const guest = await guestWith([consolePort(1, chardev({ kind: "unix", path }).endpoint)], kind);
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
    const guest = await guestWith([consolePort(1, chardev({ kind: "unix", path }).endpoint)], kind);
    guest.open(1, { open: false });
    guest.supply(receiveQueue(1), 4, 64);
    const peer = client(path);
    send(peer, Buffer.from("early"));
    guest.until(() => guest.hear()[0], "PORT_OPEN");
    guest.bench.settle();
    expect(inputOf(guest, 1)).toBe("");
    guest.say(1, PORT_OPEN, 1);
    expect(guest.until(() => inputOf(guest, 1), "the input")).toBe("early");
    // The other buffers are taken too: what comes now waits, also for its sender's end, and the next one waits behind.
    send(peer, Buffer.from("x".repeat(64 * 3)));
    guest.until(() => guest.bench.turn(20) === false, "rest");
    send(peer, Buffer.from("last words"));
    peer.close();
    const next = client(path);
    send(next, Buffer.from("next"));
    for (let i = 0; i < 5; i++) guest.bench.turn(10);
    expect(guest.hear()).toEqual([]);
    expect(inputOf(guest, 1)).toBe("x".repeat(64 * 3));
    guest.supply(receiveQueue(1), 4, 64);
    expect(guest.until(() => inputOf(guest, 1), "the rest")).toBe("last words");
    expect(guest.until(() => inputOf(guest, 1), "the next one's input")).toBe("next");
    expect(plain(guest.hear()).map(([, event, value]) => [event, value])).toEqual([
      [PORT_OPEN, 0],
      [PORT_OPEN, 1],
    ]);
  });

  it("lets a peer go that nobody listens to", async () => {
    const path = fresh();
    const guest = await guestWith([consolePort(1, chardev({ kind: "unix", path }).endpoint)], kind);
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
    const guest = await guestWith([consolePort(1, { kind: "connection", fd: theirs.raw })], kind);
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
    const guest = await guestWith([consolePort(1, chardev({ kind: "unix", path }).endpoint)], kind);
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
  const guest = await guestWith([consolePort(1, { kind: "connection", fd: theirs.raw })]);
  expect(plain(guest.open(1))).toHaveLength(2);
  guest.supply(receiveQueue(1), 4, 64);
  send(mine, Buffer.from("bye"));
  shutdown(mine, "both");
  expect(guest.until(() => inputOf(guest, 1), "the input")).toBe("bye");
  expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ value: 0 });
  guest.send(transmitQueue(1), Buffer.from("into the void"));
  guest.bench.settle();
  expect(guest.take(transmitQueue(1))).toHaveLength(1);
});

it("a pseudo-terminal's other side comes and goes", async () => {
  const { endpoint, path = "" } = chardev({ kind: "pty" });
  const guest = await guestWith([consolePort(0, endpoint)]);
  expect(plain(guest.open(0))).toEqual([[0, CONSOLE_PORT, 1, ""]]);
  guest.supply(receiveQueue(0), 8, 64);
  guest.send(transmitQueue(0), Buffer.from("nobody"));
  for (const word of ["first", "second"]) {
    const slave = open(path, O_RDWR | O_NOCTTY);
    setNonblocking(slave, true);
    expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ event: PORT_OPEN, value: 1 });
    tryWrite(slave.raw, Buffer.from(word));
    expect(guest.until(() => inputOf(guest, 0), "the input")).toBe(word);
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
    consolePort(0, { kind: "fds", inputFd: reading, outputFd: -1 }),
    consolePort(1, chardev({ kind: "file", path: output }).endpoint),
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
  const guest = await guestWith([consolePort(0, { kind: "fds", inputFd: theirs.raw, outputFd: theirs.raw })]);
  guest.open(0);
  guest.supply(receiveQueue(0), 8, 64);
  send(mine, Buffer.from("typed"));
  expect(guest.until(() => inputOf(guest, 0), "the input")).toBe("typed");
  let got = 0;
  for (let i = 0; i < 8; i++) guest.send(transmitQueue(0), new Uint8Array(120_000));
  guest.bench.settle();
  guest.until(() => {
    got += drained(mine).length;
    return got === 960_000;
  }, "the output");
});

it("nothing is read, written or accepted between quiesce and resume", async () => {
  const path = fresh();
  const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
  const guest = await guestWith([
    consolePort(1, { kind: "connection", fd: theirs.raw }),
    consolePort(2, chardev({ kind: "unix", path }).endpoint),
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
  expect(inputOf(guest, 1)).toBe("");
  guest.bench.call("resume");
  expect(guest.until(() => inputOf(guest, 1), "the input")).toBe("later");
  expect(guest.until(() => guest.hear()[0], "PORT_OPEN")).toMatchObject({ port: 2, value: 1 });
});
