import { type Fd, recv, send, socketpair, tryRecv, trySend } from "@baton/linux";
import { afterEach, describe, expect, it } from "@jest/globals";
import {
  consolePort,
  consoleRings,
  consoleWorld,
  drained,
  ended,
  plain,
  receiveQueue,
  transmitQueue,
} from "../../test/support/console-guest.js";
import type { VirtioState } from "../device/state.js";
import { CONTROL_RECEIVE_QUEUE } from "./config.js";
import { DEVICE_ADD, DEVICE_READY, PORT_NAME, PORT_READY } from "./control.js";

const { chardev, client, close, fresh, guestWith, keep } = consoleWorld();
afterEach(close);

describe.each(consoleRings)("the state (%s)", (_, kind) => {
  it("moves 20 times in the middle of two streams, without a gap or a byte twice", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([consolePort(1, { kind: "connection", fd: theirs.raw })], kind);
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
    const guest = await guestWith([consolePort(0, { kind: "null" }), consolePort(1, opened.endpoint)], kind, {
      mute: true,
    });
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
    const guest = await guestWith([consolePort(1, { kind: "null" })]);
    guest.open(1);
    const state = guest.bench.save();
    const device = structuredClone(state.device) as Record<string, unknown>;
    const changed = change(device);
    const spoilt = { ...state, device: typeof changed === "object" && !Array.isArray(changed) ? changed : device };
    expect(() => guest.bench.call("load", spoilt as VirtioState)).toThrow(message);
  });

  it("with an offset beyond the guest's buffer does no harm", async () => {
    const [mine, theirs] = socketpair({ nonblock: true }).map(keep) as [Fd, Fd];
    const guest = await guestWith([consolePort(1, { kind: "connection", fd: theirs.raw })]);
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
  const guest = await guestWith([consolePort(1, { kind: "connection", fd: theirs.raw })]);
  guest.open(1);
  guest.send(receiveQueue(1), new Uint8Array(8));
  send(mine, Buffer.from("x"));
  guest.until(() => (guest.bench.status & 0x40) !== 0, "DEVICE_NEEDS_RESET");
  expect(recv(theirs, new Uint8Array(1))).toBe(1);
});
