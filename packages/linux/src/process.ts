import { readdirSync } from "node:fs";
import { PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_PDEATHSIG, WNOHANG } from "./abi/process.js";
import { checked } from "./errno.js";
import { libc } from "./native.js";
import { aCString, anInt } from "./validate.js";

/** The process's id. getpid(2). */
export function getpid(): number {
  return libc<() => number>("int getpid()")();
}

/** The calling thread's id, what {@link tgkill} takes. gettid(2). */
export function gettid(): number {
  return libc<() => number>("int gettid()")();
}

/** Lets another thread run that waits for this processor, if there is one. sched_yield(2). */
export function schedYield(): void {
  libc<() => number>("int sched_yield()")();
}

/** The id of the parent process; 1 or that of a subreaper after the parent's death. getppid(2). */
export function getppid(): number {
  return libc<() => number>("int getppid()")();
}

/** Sends a signal to one thread. Throws with `ESRCH` when it is gone. tgkill(2). */
export function tgkill(pid: number, tid: number, signal: number): void {
  const call = libc<(pid: number, tid: number, signal: number) => number>("int tgkill(int, int, int)");
  const args = [
    anInt(pid, "pid", 1, 0x7fffffff),
    anInt(tid, "tid", 1, 0x7fffffff),
    anInt(signal, "signal", 0, 64),
  ] as const;
  checked(call(...args), "tgkill", `thread ${tid}`);
}

/** Sends a signal to a process, 0 to probe. Groups (negative numbers) are refused. kill(2). */
export function kill(pid: number, signal: number): void {
  const call = libc<(pid: number, signal: number) => number>("int kill(int, int)");
  checked(call(anInt(pid, "pid", 1, 0x7fffffff), anInt(signal, "signal", 0, 64)), "kill", `process ${pid}`);
}

function prctl(option: number, arg: number, name: string): void {
  const call = libc<(...args: number[]) => number>("int prctl(int, int64_t, int64_t, int64_t, int64_t)");
  checked(call(option, arg, 0, 0, 0), `prctl ${name}`);
}

/** Names the calling thread, for top and ps; at most 15 bytes are kept. prctl(2) PR_SET_NAME. */
export function setThreadName(name: string): void {
  const call = libc<(option: number, name: string, a: number, b: number, c: number) => number>(
    "int prctl(int, const char *, int64_t, int64_t, int64_t)",
  );
  checked(call(PR_SET_NAME, aCString(name, "name"), 0, 0, 0), "prctl PR_SET_NAME");
}

/** Has the kernel send `signal` (0: none) when the parent *thread* ends. prctl(2) PR_SET_PDEATHSIG. */
export function setParentDeathSignal(signal: number): void {
  prctl(PR_SET_PDEATHSIG, anInt(signal, "signal", 0, 64), "PR_SET_PDEATHSIG");
}

/** Allows or forbids core dumps of, and ptrace by the same user on, this process. prctl(2) PR_SET_DUMPABLE. */
export function setDumpable(dumpable: boolean): void {
  prctl(PR_SET_DUMPABLE, dumpable ? 1 : 0, "PR_SET_DUMPABLE");
}

/**
 * Ends the process at once: no exit handlers, nothing flushed, no waiting for workers (process.exit() waits for ever
 * for one that is blocked in a system call). _exit(2).
 */
export function exitImmediately(code: number): never {
  libc<(code: number) => void>("void _exit(int)")(anInt(code, "code", 0, 255));
  throw new Error("unreachable");
}

/** The number of threads of this process. */
export function threadCount(): number {
  return readdirSync("/proc/self/task").length;
}

const CPU_SET_BYTES = 128;

/** The CPUs that a thread may run on, by number. 0 is the calling thread. sched_getaffinity(2). */
export function schedGetaffinity(tid = 0): number[] {
  const set = new Uint8Array(CPU_SET_BYTES);
  const call = libc<(tid: number, size: bigint, set: Uint8Array) => number>(
    "int sched_getaffinity(int, size_t, void *)",
  );
  checked(call(anInt(tid, "tid", 0, 0x7fffffff), BigInt(CPU_SET_BYTES), set), "sched_getaffinity", `thread ${tid}`);
  return Array.from({ length: CPU_SET_BYTES * 8 }, (_, cpu) => cpu).filter(
    (cpu) => (set[cpu >> 3] ?? 0) & (1 << (cpu & 7)),
  );
}

/** Binds a thread to CPUs, by number. 0 is the calling thread. sched_setaffinity(2). */
export function schedSetaffinity(cpus: readonly number[], tid = 0): void {
  const set = new Uint8Array(CPU_SET_BYTES);
  for (const cpu of cpus) {
    const byte = anInt(cpu, "cpu", 0, CPU_SET_BYTES * 8 - 1) >> 3;
    set[byte] = (set[byte] ?? 0) | (1 << (cpu & 7));
  }
  const call = libc<(tid: number, size: bigint, set: Uint8Array) => number>(
    "int sched_setaffinity(int, size_t, void *)",
  );
  checked(call(anInt(tid, "tid", 0, 0x7fffffff), BigInt(CPU_SET_BYTES), set), "sched_setaffinity", `thread ${tid}`);
}

/** How a child ended. */
export type WaitStatus =
  | { readonly pid: number; readonly kind: "exited"; readonly code: number }
  | { readonly pid: number; readonly kind: "signalled"; readonly signal: number };

/** Waits for a child that Node did not start; null with `noHang` while it runs. waitpid(2). */
export function waitpid(pid: number, options: { readonly noHang?: boolean } = {}): WaitStatus | null {
  const status = new Int32Array(1);
  const call = libc<(pid: number, status: Int32Array, options: number) => number>("int waitpid(int, void *, int)");
  const got = call(anInt(pid, "pid", -1, 0x7fffffff), status, options.noHang ? WNOHANG : 0);
  if (checked(got, "waitpid", `process ${pid}`) === 0) return null;
  const word = status[0] as number;
  const signal = word & 0x7f;
  return signal === 0
    ? { pid: got, kind: "exited", code: (word >> 8) & 0xff }
    : { pid: got, kind: "signalled", signal };
}

/** Sets the permission bits that new files do not get; returns the earlier ones. umask(2). */
export function umask(mask: number): number {
  return libc<(mask: number) => number>("unsigned int umask(unsigned int)")(anInt(mask, "mask", 0, 0o777));
}
