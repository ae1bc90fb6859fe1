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

/** The time's registers in the order of their weight, with the numbers that each may hold. */
const fields = [
  [REGISTER.century, 0, 99],
  [REGISTER.year, 0, 99],
  [REGISTER.month, 1, 12],
  [REGISTER.day, 1, 31],
  [REGISTER.hours, 0, 23],
  [REGISTER.minutes, 0, 59],
  [REGISTER.seconds, 0, 59],
  [REGISTER.weekday, 1, 7],
] as const;
const timeRegisters: ReadonlySet<number> = new Set(fields.map(([register]) => register));

/** The numbers that the registers show at a time, in the order of {@link fields}. */
function toFields(date: Date): readonly number[] {
  const year = date.getUTCFullYear();
  const day = [date.getUTCMonth() + 1, date.getUTCDate()];
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
  return [Math.floor(year / 100), year % 100, ...day, ...time, date.getUTCDay() + 1];
}

/** The time that the numbers mean, in milliseconds; impossible ones, such as 31 February, become the nearest possible. */
function fromFields(values: readonly number[]): number {
  const [century = 0, year = 0, month = 0, day = 0, hours = 0, minutes = 0, seconds = 0] = values.map((value, i) => {
    const [, min, max] = fields[i] as (typeof fields)[number];
    return Math.min(Math.max(value, min), max);
  });
  const date = new Date(0);
  date.setUTCFullYear(century * 100 + year, month, 0);
  const lastDay = date.getUTCDate();
  date.setUTCFullYear(century * 100 + year, month - 1, Math.min(day, lastDay));
  return date.setUTCHours(hours, minutes, seconds);
}

/**
 * An MC146818 real-time clock in UTC, in 24-hour mode: time, date and 114 bytes of CMOS memory; setting the time moves
 * the guest's clock, never the host's. Between setting and clearing the SET bit the time stands still, and its parts are
 * taken together. No alarm and no periodic interrupt. Offset 0 is port 0x70, offset 1 port 0x71.
 */
export function rtc(context: HandlerContext): BusHandler {
  const { offset, selected, cmos } = views(context.shared);
  const status = () => cmos[STATUS_B] as number;
  const encode = (value: number) => (status() & B_BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10));
  const decode = (value: number) => (status() & B_BINARY ? value : (value >> 4) * 10 + (value & 15));
  /** Puts the time into the registers, or sets the time to what they say. */
  const freeze = () => {
    const now = toFields(new Date(Date.now() + (offset[0] as number) * 1000));
    for (const [i, [register]] of fields.entries()) cmos[register] = encode(now[i] as number);
  };
  const thaw = () => {
    const time = fromFields(fields.map(([register]) => decode(cmos[register] as number)));
    offset[0] = (time - Date.now()) / 1000;
  };
  const setStatusB = (value: number) => {
    const wasSet = (status() & B_SET) !== 0;
    const isSet = (value & B_SET) !== 0;
    if (wasSet && !isSet) thaw();
    cmos[STATUS_B] = value | B_24_HOURS;
    if (isSet && !wasSet) freeze();
  };
  const fixed: Readonly<Record<number, number>> = { [STATUS_A]: DIVIDER_32KHZ, [STATUS_C]: 0, [STATUS_D]: D_VALID };
  cmos[STATUS_B] = status() | B_24_HOURS;
  return {
    read(port) {
      const register = selected[0] as number;
      if (port === 0) return register;
      if (timeRegisters.has(register) && (status() & B_SET) === 0) freeze();
      return fixed[register] ?? (cmos[register] as number);
    },
    write(port, _size, value) {
      const register = selected[0] as number;
      if (port === 0) selected[0] = value & 0x7f;
      else if (register === STATUS_B) setStatusB(value & 0xff);
      else if (timeRegisters.has(register) && (status() & B_SET) === 0) {
        freeze();
        cmos[register] = value;
        thaw();
      } else cmos[register] = value;
    },
  };
}
