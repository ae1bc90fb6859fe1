import { readFileSync } from "node:fs";
import { BatonError } from "./errors.js";
import { anInt } from "./validate.js";

/** The unit of times in `/proc`: USER_HZ is 100 on every x86 and arm64 kernel. */
const TICK_NS = 10_000_000;
/** Places in `/proc/PID/stat` behind the name, which may hold anything. proc_pid_stat(5) counts the state as 3. */
const field = { state: 0, startTime: 22 - 3, guestTime: 43 - 3 } as const;

/** Processor time of a thread since it was made, in nanoseconds. */
export interface ThreadTime {
  /** In user mode, in the kernel and in guests. */
  readonly totalNs: number;
  /** In guests of KVM alone; where the kernel counts by ticks, a multiple of 10 ms. */
  readonly guestNs: number;
}

function statFields(path: string): string[] {
  const text = readFileSync(path, "latin1");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** The processor time of a thread of this process. Fails with `THREAD_GONE` where there is none of this id. */
export function threadTime(tid: number): ThreadTime {
  const directory = `/proc/self/task/${anInt(tid, "tid", 1, 0x7fffffff)}`;
  try {
    const [totalNs] = readFileSync(`${directory}/schedstat`, "latin1").split(" ");
    return { totalNs: Number(totalNs), guestNs: Number(statFields(`${directory}/stat`)[field.guestTime]) * TICK_NS };
  } catch (error) {
    throw new BatonError("THREAD_GONE", `This process has no thread ${tid}`, { cause: error });
  }
}

/**
 * When a process was started, in ticks since the host's boot: together with the id it names one process for good, since
 * ids come back. Undefined where no process has the id, or one that has ended and waits to be reaped.
 */
export function processStartTime(pid: number): bigint | undefined {
  try {
    const fields = statFields(`/proc/${anInt(pid, "pid", 1, 0x7fffffff)}/stat`);
    return /[ZX]/.test(fields[field.state] ?? "") ? undefined : BigInt(fields[field.startTime] ?? "");
  } catch {
    return undefined;
  }
}

/** The memory of this process that is in RAM, in bytes. proc_pid_status(5) `VmRSS`. */
export function residentBytes(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? 0) * 1024;
}
