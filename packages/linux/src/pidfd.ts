import { SYS_pidfd_getfd, SYS_pidfd_open, SYS_pidfd_send_signal } from "./abi/process.js";
import { checked } from "./errno.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { libc } from "./native.js";
import { anInt } from "./validate.js";

// The wrappers are symbols of libc only since glibc 2.36.
type Syscall = (nr: number, a: number, b: number, c: number, d: number) => number;
const syscall: Syscall = (nr, a, b, c, d) =>
  libc<Syscall>("long syscall(long, int64_t, int64_t, int64_t, int64_t)")(nr, a, b, c, d);

/** A descriptor of a process, readable (POLLIN) once it has ended; never another process's. pidfd_open(2). */
export function pidfdOpen(pid: number): Fd {
  const raw = syscall(SYS_pidfd_open, anInt(pid, "pid", 1, 0x7fffffff), 0, 0, 0);
  return Fd.adopt(checked(raw, "pidfd_open", `process ${pid}`), `pidfd:${pid}`);
}

/** Sends a signal to exactly the process that the pidfd stands for, 0 to probe. pidfd_send_signal(2). */
export function pidfdSendSignal(pidfd: FdLike, signal: number): void {
  const result = syscall(SYS_pidfd_send_signal, rawFd(pidfd), anInt(signal, "signal", 0, 64), 0, 0);
  checked(result, "pidfd_send_signal", fdName(pidfd));
}

/** Duplicates descriptor number `target` of another process (ptrace permission needed). pidfd_getfd(2). */
export function pidfdGetfd(pidfd: FdLike, target: number): Fd {
  const raw = syscall(SYS_pidfd_getfd, rawFd(pidfd), anInt(target, "target", 0, 0x7fffffff), 0, 0);
  return Fd.adopt(checked(raw, "pidfd_getfd", fdName(pidfd)), `${fdName(pidfd)}/fd ${target}`);
}
