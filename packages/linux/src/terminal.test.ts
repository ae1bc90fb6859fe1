import { afterEach, expect, it } from "@jest/globals";
import { POLLIN } from "./abi/event.js";
import { O_NOCTTY, O_RDWR } from "./abi/file.js";
import { eventfd } from "./eventfd.js";
import { liveFds } from "./fd.js";
import { open } from "./files.js";
import { poll } from "./poll.js";
import { read, writeAll } from "./read-write.js";
import { getTerminalState, getWindowSize, isatty, makeRaw, openPty, restore, setWindowSize } from "./terminal.js";

afterEach(() => expect(liveFds()).toEqual([]));

it("raw mode passes every byte, and is undone", () => {
  const { master, slavePath } = openPty();
  using slave = open(slavePath, O_RDWR | O_NOCTTY);
  const before = getTerminalState(slave);
  const state = makeRaw(slave);
  expect(state).toEqual(before);
  const bytes = Uint8Array.of(0x03, 0x0d, 0x04, 0xff, 0x1a);
  writeAll(master, bytes);
  const got = new Uint8Array(16);
  expect(poll([{ fd: slave, events: POLLIN }], 5000)).toEqual([POLLIN]);
  expect([...got.subarray(0, read(slave, got))]).toEqual([...bytes]);
  writeAll(slave, Buffer.from("a\n"));
  expect(read(master, got)).toBe(2);
  expect(getTerminalState(slave)).not.toEqual(before);
  restore(slave, structuredClone(state));
  expect(getTerminalState(slave)).toEqual(before);
  writeAll(slave, Buffer.from("a\n"));
  expect(read(master, got)).toBe(3);
  master.close();
});

it("knows terminals and their size", () => {
  const { master, slavePath } = openPty();
  using slave = open(slavePath, O_RDWR | O_NOCTTY);
  using event = eventfd();
  expect([isatty(slave), isatty(event)]).toEqual([true, false]);
  setWindowSize(master, { rows: 40, columns: 132 });
  expect(getWindowSize(slave)).toEqual({ rows: 40, columns: 132 });
  expect(() => makeRaw(event)).toThrow("ioctl TCGETS2 eventfd: inappropriate ioctl for device (ENOTTY)");
  master.close();
});
