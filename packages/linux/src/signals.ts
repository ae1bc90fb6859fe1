import { SA_RESTART, SIG_BLOCK, SIG_UNBLOCK, sigaction, sigset_t } from "./abi/process.js";
import { checked, throwErrno } from "./errno.js";
import { libc, libcSymbol } from "./native.js";
import { anInt } from "./validate.js";

/** The highest signal number. */
export const SIGNAL_MAX = 64;

function aSignal(signal: number): number {
  return anInt(signal, "signal", 1, SIGNAL_MAX);
}

/**
 * Installs a handler that does nothing, so that the signal's only effect is to interrupt the system call a thread is
 * blocked in: SA_RESTART, thus KVM_RUN and epoll_wait return EINTR and read(2) goes on. The handler is libc's `abs`, so
 * no JavaScript runs. Process-wide; once is enough. Do not also listen with `process.on`: Node would replace the
 * handler. SIGURG suits best, it is ignored where no handler stands and does not queue. sigaction(2).
 */
export function installNoopHandler(signal: number): void {
  const action = new Uint8Array(sigaction.size);
  const data = new DataView(action.buffer);
  data.setBigUint64(sigaction.sa_handler, libcSymbol("abs"), true);
  data.setUint32(sigaction.sa_flags, SA_RESTART, true);
  const call = libc<(n: number, act: Uint8Array, old: null) => number>("int sigaction(int, void *, void *)");
  checked(call(aSignal(signal), action, null), "sigaction", `signal ${signal}`);
}

function mask(how: number, signal: number): void {
  const set = new Uint8Array(sigset_t.size);
  const bit = aSignal(signal) - 1;
  set[bit >> 3] = 1 << (bit & 7);
  const call = libc<(how: number, set: Uint8Array, old: null) => number>("int pthread_sigmask(int, void *, void *)");
  const errno = call(how, set, null);
  if (errno !== 0) throwErrno("pthread_sigmask", errno);
}

/** Blocks a signal in the calling thread (a worker starts with none blocked). pthread_sigmask(3). */
export function blockSignal(signal: number): void {
  mask(SIG_BLOCK, signal);
}

/** Unblocks a signal in the calling thread; a pending one is delivered before this returns. pthread_sigmask(3). */
export function unblockSignal(signal: number): void {
  mask(SIG_UNBLOCK, signal);
}
