import { EAGAIN } from "./abi/errno.js";
import { EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE } from "./abi/event.js";
import { checked, throwErrno } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { libc } from "./native.js";
import { tryRead, tryWrite } from "./read-write.js";
import { aU32, aU64 } from "./validate.js";

/** What {@link eventfd} may be told. */
export interface EventfdOptions {
  /** The counter at first, 0 unless given. */
  readonly initial?: number;
  /** Whether an empty counter gives EAGAIN instead of blocking; true unless given. */
  readonly nonblock?: boolean;
  /** Whether a read takes 1 instead of everything. */
  readonly semaphore?: boolean;
  /** For messages. */
  readonly name?: string;
}

/** A counter to wait for, close-on-exec, and non-blocking unless asked otherwise. eventfd(2). */
export function eventfd(options: EventfdOptions = {}): Fd {
  const { initial = 0, nonblock = true, semaphore = false, name = "eventfd" } = options;
  const flags = EFD_CLOEXEC | (nonblock ? EFD_NONBLOCK : 0) | (semaphore ? EFD_SEMAPHORE : 0);
  const call = libc<(initial: number, flags: number) => number>("int eventfd(unsigned int, int)");
  return Fd.adopt(checked(call(aU32(initial, "initial"), flags), "eventfd"), name);
}

const scratch = new BigUint64Array(1);
const scratchBytes = new Uint8Array(scratch.buffer);

/** Adds `n` to the counter. A counter that is full already (EAGAIN) stays so, which wakes the reader as well. */
export function signalEventfd(fd: FdLike, n: number | bigint = 1): void {
  scratch[0] = typeof n === "bigint" || n !== 1 ? aU64(n, "n") : 1n;
  const result = tryWrite(rawFd(fd), scratchBytes);
  if (result < 0 && result !== -EAGAIN) throwErrno("write", -result, { what: fdName(fd) });
}

/** Takes the counter (1 of a semaphore): 0n if it was empty. On a blocking eventfd it waits for a signal. */
export function drainEventfd(fd: FdLike): bigint {
  const result = tryRead(rawFd(fd), scratchBytes);
  if (result === -EAGAIN) return 0n;
  if (result < 0) throwErrno("read", -result, { what: fdName(fd) });
  return scratch[0] as bigint;
}
