import { afterEach, beforeEach, describe, expect, it, jest } from "@jest/globals";
import fc from "fast-check";
import { loadRtc, RTC_SHARED_BYTES, rtc, saveRtc } from "./rtc.js";
import { TestContext } from "./testing/context.js";

const B = 0x0b;
const SET = 0x80;
const BINARY = 0x04;

/** The clock as a driver sees it. */
function clock(shared = new SharedArrayBuffer(RTC_SHARED_BYTES)) {
  const device = rtc(new TestContext(shared));
  const read = (register: number) => {
    device.write(0, 1, register);
    return device.read(1, 1);
  };
  const write = (register: number, value: number) => {
    device.write(0, 1, register);
    device.write(1, 1, value);
  };
  /** Century to seconds, as the registers have them. */
  const time = () => [0x32, 9, 8, 7, 4, 2, 0].map(read);
  return { device, shared, read, write, time };
}

describe("the real-time clock", () => {
  beforeEach(() => {
    jest.useFakeTimers({ now: Date.UTC(2031, 0, 31, 23, 58, 7, 250), doNotFake: ["performance"] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it("shows the host's time in BCD after a reset, and says that it is valid", () => {
    const { time, read } = clock();
    expect(time()).toEqual([0x20, 0x31, 0x01, 0x31, 0x23, 0x58, 0x07]);
    expect(read(6)).toBe(6);
    expect(read(0x0d) & 0x80).toBe(0x80);
    expect(read(0x0a) & 0x80).toBe(0);
    expect(read(B)).toBe(0x02);
  });

  it("shows it in binary where the guest asks for that", () => {
    const { time, write } = clock();
    write(B, BINARY | 2);
    expect(time()).toEqual([20, 31, 1, 31, 23, 58, 7]);
  });

  it("goes on with the host's time", () => {
    const { time } = clock();
    jest.setSystemTime(Date.UTC(2031, 1, 1, 0, 1, 2));
    expect(time().slice(2)).toEqual([0x02, 0x01, 0x00, 0x01, 0x02]);
  });

  it("takes the parts of a time together, although they make no date one by one", () => {
    const { time, write, read } = clock();
    write(B, SET | 2);
    expect(read(B) & SET).toBe(SET);
    // 31 January becomes 10 February: on the way it is 31 February.
    const parts = [
      [9, 0x24],
      [8, 0x02],
      [7, 0x10],
      [4, 0x12],
      [2, 0x34],
      [0, 0x56],
    ] as const;
    for (const [register, value] of parts) write(register, value);
    jest.setSystemTime(Date.now() + 5000);
    expect(time().slice(1)).toEqual([0x24, 0x02, 0x10, 0x12, 0x34, 0x56]);
    write(B, 2);
    expect(time()).toEqual([0x20, 0x24, 0x02, 0x10, 0x12, 0x34, 0x56]);
    jest.setSystemTime(Date.now() + 5000);
    expect(time()).toEqual([0x20, 0x24, 0x02, 0x10, 0x12, 0x35, 0x01]);
  });

  it("takes parts that are written while it runs", () => {
    const { time, write } = clock();
    write(8, 0x02);
    expect(time().slice(0, 4)).toEqual([0x20, 0x31, 0x02, 0x28]);
    write(7, 0x03);
    write(4, 0x05);
    expect(time().slice(0, 5)).toEqual([0x20, 0x31, 0x02, 0x03, 0x05]);
    write(0x32, 0x19);
    expect(time().slice(0, 2)).toEqual([0x19, 0x31]);
  });

  it("keeps CMOS memory, and masks the NMI bit out of the index", () => {
    const { device, read, write } = clock();
    write(0x55, 0xa5);
    expect(read(0x55)).toBe(0xa5);
    device.write(0, 1, 0x80 | 0x55);
    expect(device.read(0, 1)).toBe(0x55);
    expect(device.read(1, 1)).toBe(0xa5);
  });

  it("is carried over by its state, also while it is being set", () => {
    const first = clock();
    first.write(0x40, 7);
    first.write(B, SET | BINARY | 2);
    first.write(9, 44);
    const shared = new SharedArrayBuffer(RTC_SHARED_BYTES);
    const state = saveRtc(first.shared);
    loadRtc(shared, state);
    expect(saveRtc(shared)).toEqual(state);
    const second = clock(shared);
    second.write(B, BINARY | 2);
    expect(second.time()).toEqual([20, 44, 1, 31, 23, 58, 7]);
    expect(second.read(0x40)).toBe(7);
  });

  it("shows any time that it is set to, in both formats", () => {
    const date = fc.date({ min: new Date("1970-01-01"), max: new Date("2199-12-31"), noInvalidDate: true });
    fc.assert(
      fc.property(date, fc.boolean(), (date, binary) => {
        const encode = (n: number) => (binary ? n : (Math.floor(n / 10) << 4) | (n % 10));
        const year = date.getUTCFullYear();
        const parts = [
          ...[Math.floor(year / 100), year % 100, date.getUTCMonth() + 1, date.getUTCDate()],
          ...[date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()],
        ].map(encode);
        const { time, write, read } = clock();
        write(B, SET | (binary ? BINARY : 0));
        for (const [i, register] of [0x32, 9, 8, 7, 4, 2, 0].entries()) write(register, parts[i] as number);
        write(B, binary ? BINARY : 0);
        expect(time()).toEqual(parts);
        expect(read(6)).toBe(date.getUTCDay() + 1);
      }),
    );
  });

  it("survives any access", () => {
    const access = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(access, { maxLength: 100 }), (accesses) => {
        const { device, time } = clock();
        for (const [isWrite, port, value] of accesses) {
          if (isWrite) device.write(port, 1, value);
          else expect(device.read(port, 1)).toBeLessThan(256);
        }
        expect(time().every((part) => Number.isInteger(part))).toBe(true);
      }),
    );
  });
});
