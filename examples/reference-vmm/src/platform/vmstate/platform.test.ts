import { qemuCodec, type Vmstate } from "@baton/migration/vmstate";
import { describe, expect, it } from "@jest/globals";
import type { RtcState } from "../rtc.js";
import { RX_CAPACITY, type UartState } from "../uart-16550.js";
import { gedVmstate, joinGed, saveGed } from "./acpi-ged.js";
import { i8042Vmstate, joinI8042, saveI8042 } from "./i8042.js";
import { joinRtcSections, ownRtcVmstate, rtcVmstate, saveRtcSections } from "./rtc.js";
import { joinSerial, ownSerialVmstate, saveSerial, serialVmstate } from "./serial.js";

function through<S>(descriptor: Vmstate<S>, state: S): S {
  return qemuCodec.decode(descriptor, qemuCodec.encode(descriptor, state));
}

const uart: UartState = {
  ier: 0x0f,
  fcr: 0xc1,
  lcr: 0x83,
  mcr: 0x1f,
  lsr: 0x62,
  msr: 0xb0,
  scr: 0x5a,
  divisor: 0x1234,
  threPending: true,
  received: Uint8Array.of(1, 2, 3),
  sent: Uint8Array.from({ length: 300 }, (_, i) => i & 0xff),
};
const rtc: RtcState = { offsetSeconds: -0.1, selected: 0x7f, cmos: Uint8Array.from({ length: 128 }, (_, i) => i) };

describe("sections of the platform", () => {
  it("give a serial port back", () => {
    for (const each of [uart, { ...uart, threPending: false, sent: new Uint8Array(0) }]) {
      const { serial, own } = saveSerial(each);
      expect(joinSerial({ serial: through(serialVmstate, serial), own: through(ownSerialVmstate, own) })).toEqual(each);
    }
  });

  it("take a pending transmitter from the identification, as QEMU does, where it is told no other way", () => {
    const { serial, own } = saveSerial(uart);
    const { transmitterPending: _, ...state } = serial.state;
    expect(joinSerial({ serial: { state }, own }).threPending).toBe(true);
    expect(joinSerial({ serial: { state: { ...state, iir: 0xc1 } }, own }).threPending).toBe(false);
  });

  it("give the clock back to the last bit of its distance", () => {
    for (const offsetSeconds of [0, -0, 0.1, 1e300, -5e-324]) {
      const each = { ...rtc, offsetSeconds };
      const sections = saveRtcSections(each);
      const joined = joinRtcSections({
        rtc: through(rtcVmstate, sections.rtc),
        own: through(ownRtcVmstate, sections.own),
      });
      expect(joined).toEqual(each);
    }
  });

  it("give the words of the GED and the i8042 back", () => {
    for (const words of [[0], [2], [-1]]) expect(joinGed(through(gedVmstate, saveGed(words)))).toEqual(words);
    for (const words of [
      [0, 0, 0],
      [0x55, 1, 0xd1],
    ]) {
      expect(joinI8042(through(i8042Vmstate, saveI8042(words)))).toEqual(words);
    }
  });

  it("refuse what the devices cannot hold", () => {
    const { own } = saveSerial({ ...uart, received: new Uint8Array(RX_CAPACITY + 1) });
    expect(() => through(ownSerialVmstate, own)).toThrow(`${RX_CAPACITY + 1} bytes received of ${RX_CAPACITY}`);
    const invalid = expect.objectContaining({ code: "STATE_INVALID" });
    const clock = saveRtcSections({ ...rtc, offsetSeconds: Number.NaN });
    expect(() => joinRtcSections(clock)).toThrow(invalid);
    expect(() => joinRtcSections(saveRtcSections({ ...rtc, selected: 128 }))).toThrow(invalid);
  });
});
