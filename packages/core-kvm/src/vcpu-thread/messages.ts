import type { GuestMemoryDescriptor } from "@baton/memory";
import type { BusDescription } from "../bus/bus.js";
import type { DeviceEvent } from "../bus/handler.js";
import type { PollingOptions } from "../device-thread/service.js";
import type { VcpuExit } from "../exit.js";

/** Gives a pooled thread a vCPU to run. */
export interface VcpuAssignment {
  readonly role: "vcpu";
  readonly vcpuFd: number;
  readonly vmFd: number;
  readonly runHva: bigint;
  readonly runSize: number;
  readonly control: SharedArrayBuffer;
  readonly bus: BusDescription;
  readonly memory: GuestMemoryDescriptor;
  /** For each device of the bus: the eventfd that wakes the device thread that answers for it, or -1. */
  readonly wakeFds: readonly number[];
}

/** Gives a pooled thread the work of a device thread. */
export interface DeviceAssignment {
  readonly role: "device";
  /** Non-blocking eventfd: signalled after a message, after an access in a mailbox, and to stop. */
  readonly wakeFd: number;
  readonly polling: PollingOptions;
  readonly port: import("node:worker_threads").MessagePort;
}

/** What a thread is asked to do. */
export type Assignment = VcpuAssignment | DeviceAssignment;

/** An error on its way between threads. */
export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly stack?: string | undefined;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What a vCPU's thread says. */
export type VcpuMessage =
  /** The thread has loaded its libraries, or the handlers of its assignment. */
  | { readonly type: "ready" }
  | { readonly type: "paused"; readonly sequence: number }
  | { readonly type: "exit"; readonly exit: VcpuExit }
  | { readonly type: "event"; readonly event: DeviceEvent }
  | { readonly type: "forward" }
  | { readonly type: "failed"; readonly error: ErrorReport }
  | { readonly type: "released" };

/** Turns what was thrown into something that can be posted. */
export function reportError(error: unknown, code = "VCPU_THREAD_FAILED"): ErrorReport {
  if (error instanceof Error) {
    const known = (error as { code?: unknown }).code;
    const details = (error as { details?: Readonly<Record<string, unknown>> }).details;
    return {
      code: typeof known === "string" ? known : code,
      message: error.message,
      stack: error.stack,
      ...(details !== undefined && { details }),
    };
  }
  return { code, message: String(error) };
}
