import { CLOCK_MONOTONIC, itimerspec, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME } from "./abi/event.js";
import { checked } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { libc } from "./native.js";
import { anInt, aSize } from "./validate.js";

/** A timer's times, in nanoseconds. */
export interface TimerSetting {
  /** Until the first expiry; 0n disarms. With `absolute`, on the timer's clock. */
  readonly value: bigint;
  /** Between further expiries; 0n for none. */
  readonly interval: bigint;
}

/** A timer as a descriptor, readable after it has expired; close-on-exec, non-blocking. `clock` is a `CLOCK_*`. timerfd_create(2). */
export function timerfdCreate(clock: number = CLOCK_MONOTONIC, name = "timerfd"): Fd {
  const call = libc<(clock: number, flags: number) => number>("int timerfd_create(int, int)");
  return Fd.adopt(checked(call(anInt(clock, "clock", 0, 15), TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create"), name);
}

const NS = 1_000_000_000n;

function decode(words: BigInt64Array): TimerSetting {
  const [intervalSec, intervalNs, valueSec, valueNs] = words as unknown as [bigint, bigint, bigint, bigint];
  return { value: valueSec * NS + valueNs, interval: intervalSec * NS + intervalNs };
}

/** Arms or disarms a timer; returns what was set before. timerfd_settime(2). */
export function timerfdSettime(
  fd: FdLike,
  setting: { readonly value: bigint; readonly interval?: bigint; readonly absolute?: boolean },
): TimerSetting {
  const value = aSize(setting.value, "value");
  const interval = aSize(setting.interval ?? 0n, "interval");
  const next = BigInt64Array.of(interval / NS, interval % NS, value / NS, value % NS);
  const old = new BigInt64Array(itimerspec.size / 8);
  const call = libc<(fd: number, flags: number, next: BigInt64Array, old: BigInt64Array) => number>(
    "int timerfd_settime(int, int, void *, void *)",
  );
  checked(call(rawFd(fd), setting.absolute ? TFD_TIMER_ABSTIME : 0, next, old), "timerfd_settime", fdName(fd));
  return decode(old);
}

/** The time left, and the interval. timerfd_gettime(2). */
export function timerfdGettime(fd: FdLike): TimerSetting {
  const now = new BigInt64Array(itimerspec.size / 8);
  const call = libc<(fd: number, now: BigInt64Array) => number>("int timerfd_gettime(int, void *)");
  checked(call(rawFd(fd), now), "timerfd_gettime", fdName(fd));
  return decode(now);
}
