import type { VmOutcome } from "../virtual-machine.js";

/** Exit codes of `baton`; `docs/baton.md` lists them. */
export const exitCode = {
  /** The guest shut down, or was ended by `quit` or a signal. */
  ok: 0,
  /** The options are wrong, or the VM could not be made. */
  error: 1,
  /** The guest's kernel panicked. */
  panic: 2,
  /** The VM stopped because it, or a device, could not go on. */
  internalError: 3,
} as const;

/** The exit code for the way in which a VM ended; a debug exit has its own. */
export function exitCodeOf(outcome: VmOutcome): number {
  switch (outcome.reason) {
    case "debug-exit":
      return outcome.exitCode ?? exitCode.ok;
    case "panic":
      return exitCode.panic;
    case "internal-error":
      return exitCode.internalError;
    case "shutdown":
    case "closed":
      return exitCode.ok;
    default:
      return outcome.reason satisfies never;
  }
}
