import { EINTR } from "./abi/errno.js";
import { POLLHUP, pollfd } from "./abi/event.js";
import { throwErrno } from "./errno.js";
import { type FdLike, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { anInt } from "./validate.js";

/** A descriptor to wait for, and the `POLL*` events of interest. */
export interface PollEntry {
  readonly fd: FdLike;
  readonly events: number;
}

/**
 * Waits until one of the descriptors is ready, for `timeoutMs` (-1: for ever). Returns the `POLL*` events of each, in
 * order; all 0 on a timeout and when a signal came. poll(2).
 */
export function poll(entries: readonly PollEntry[], timeoutMs: number): number[] {
  const bytes = new Uint8Array(entries.length * pollfd.size);
  const ints = new Int32Array(bytes.buffer);
  const shorts = new Int16Array(bytes.buffer);
  for (const [i, { fd, events }] of entries.entries()) {
    ints[(i * pollfd.size) / 4] = rawFd(fd);
    shorts[(i * pollfd.size + pollfd.events) / 2] = anInt(events, "events", 0, 0x7fff);
  }
  const call = libc<(fds: Uint8Array, count: number, timeout: number) => number>(
    "int poll(void *, unsigned long, int)",
  );
  const count = call(bytes, entries.length, anInt(timeoutMs, "timeoutMs", -1, 0x7fffffff));
  if (count < 0) {
    const errno = lastErrno();
    if (errno !== EINTR) throwErrno("poll", errno);
    return entries.map(() => 0);
  }
  return entries.map((_, i) => (shorts[(i * pollfd.size + pollfd.revents) / 2] as number) & 0xffff);
}

/** Whether nobody is at the other side of a connection or a pseudo-terminal any more (`POLLHUP`). */
export function hungUp(fd: FdLike): boolean {
  return ((poll([{ fd, events: 0 }], 0)[0] as number) & POLLHUP) !== 0;
}
