import type { VmConfig } from "./config.js";
import { type IncomingState, VirtualMachine } from "./virtual-machine.js";

/** Options of {@link createVm}. */
export interface CreateVmOptions {
  /** Abort undoes what was half made; the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * A state to go on from, over RAM given as `memory.block`, instead of booting; `later` for a VM that waits, `inmigrate`,
   * for a guest from elsewhere.
   */
  readonly incoming?: IncomingState | "later";
}

/**
 * Makes a virtual machine with its kernel loaded, ready for `start()`.
 *
 * Errors (by `code`): those of `Kvm.open`, `MEMORY_SIZE`, `VCPU_COUNT`, `CPU_TOPOLOGY`, `CPU_FEATURE_UNKNOWN`,
 * `CPU_FEATURE_UNSUPPORTED`, `KERNEL_*`, `INITRD_*`, `CMDLINE_*`, `MEMORY_BACKEND_*`, `CHARDEV_OPEN`, `SOCKET_IN_USE`.
 */
export function createVm(config: VmConfig, options: CreateVmOptions = {}): Promise<VirtualMachine> {
  return VirtualMachine.create(config, options);
}
