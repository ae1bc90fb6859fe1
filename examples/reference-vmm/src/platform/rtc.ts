import type { BusHandler, HandlerContext } from "@baton/core-kvm";

/** Bytes of shared memory: the offset to the host's clock in seconds (a double), the selected register, then the CMOS. */
export const RTC_SHARED_BYTES = 16 + 128;

const REGISTER = { seconds: 0, minutes: 2, hours: 4, weekday: 6, day: 7, month: 8, year: 9, century: 0x32 } as const;
const STATUS_A = 0x0a;
const STATUS_B = 0x0b;
const STATUS_C = 0x0c;
const STATUS_D = 0x0d;
const DIVIDER_32KHZ = 0x26;
const B_24_HOURS = 0x02;
const B_BINARY = 0x04;
const B_SET = 0x80;
const D_VALID = 0x80;

/** The state of the clock as plain data. */
export interface RtcState {
  /** What the guest has added to the host's real time, in seconds. */
  readonly offsetSeconds: number;
  readonly selected: number;
  readonly cmos: Uint8Array;
}

/** Views of the clock's shared memory. */
function views(shared: SharedArrayBuffer) {
  return {
    offset: new Float64Array(shared, 0, 1),
    selected: new Uint8Array(shared, 8, 1),
    cmos: new Uint8Array(shared, 16, 128),
  };
}

/** Reads the state, with all vCPUs paused. */
export function saveRtc(shared: SharedArrayBuffer): RtcState {
  const { offset, selected, cmos } = views(shared);
  return { offsetSeconds: offset[0] as number, selected: selected[0] as number, cmos: cmos.slice() };
}

/** Sets the state. */
export function loadRtc(shared: SharedArrayBuffer, state: RtcState): void {
  const { offset, selected, cmos } = views(shared);
  offset[0] = state.offsetSeconds;
  selected[0] = state.selected;
  cmos.set(state.cmos.subarray(0, cmos.length));
}

/**
 * An MC146818 real-time clock in UTC: time, date and 114 bytes of CMOS memory; setting the time moves the guest's clock,
 * never the host's. No alarm and no periodic interrupt. Offset 0 is port 0x70, offset 1 port 0x71.
 */
export function rtc(context: HandlerContext): BusHandler {
  const { offset, selected, cmos } = views(context.shared);
  const now = () => new Date(Date.now() + (offset[0] as number) * 1000);
  const encode = (value: number) =>
    (cmos[STATUS_B] as number) & B_BINARY ? value : ((value / 10) << 4) | (value % 10);
  const decode = (value: number) => ((cmos[STATUS_B] as number) & B_BINARY ? value : (value >> 4) * 10 + (value & 15));
  const fields: Readonly<Record<number, readonly [get: (d: Date) => number, set: (d: Date, value: number) => void]>> = {
    [REGISTER.seconds]: [(d) => d.getUTCSeconds(), (d, v) => d.setUTCSeconds(v)],
    [REGISTER.minutes]: [(d) => d.getUTCMinutes(), (d, v) => d.setUTCMinutes(v)],
    [REGISTER.hours]: [(d) => d.getUTCHours(), (d, v) => d.setUTCHours(v)],
    [REGISTER.weekday]: [(d) => d.getUTCDay() + 1, () => {}],
    [REGISTER.day]: [(d) => d.getUTCDate(), (d, v) => d.setUTCDate(v)],
    [REGISTER.month]: [(d) => d.getUTCMonth() + 1, (d, v) => d.setUTCMonth(v - 1)],
    [REGISTER.year]: [
      (d) => d.getUTCFullYear() % 100,
      (d, v) => d.setUTCFullYear(d.getUTCFullYear() - (d.getUTCFullYear() % 100) + v),
    ],
    [REGISTER.century]: [(d) => Math.floor(d.getUTCFullYear() / 100), () => {}],
  };
  const fixed: Readonly<Record<number, number>> = { [STATUS_A]: DIVIDER_32KHZ, [STATUS_C]: 0, [STATUS_D]: D_VALID };
  cmos[STATUS_B] = (cmos[STATUS_B] as number) | B_24_HOURS;
  return {
    read(port) {
      const register = selected[0] as number;
      if (port === 0) return register;
      const field = fields[register];
      return field ? encode(field[0](now())) : (fixed[register] ?? (cmos[register] as number));
    },
    write(port, _size, value) {
      const register = selected[0] as number;
      if (port === 0) selected[0] = value & 0x7f;
      else if (fields[register] !== undefined) {
        const date = now();
        fields[register][1](date, decode(value & 0xff));
        offset[0] = (date.getTime() - Date.now()) / 1000;
      } else cmos[register] = register === STATUS_B ? (value & ~B_SET) | B_24_HOURS : value;
    },
  };
}
