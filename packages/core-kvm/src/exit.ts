import * as abi from "./abi/kvm.js";

/**
 * Why a vCPU returned to user space (KVM API section 5). `data` is a view of the run mapping: valid until the next run;
 * for `io-in` and `mmio-read` the answer is written into it. Addresses are guest physical; `size` is in bytes.
 */
export type VcpuExit =
  | {
      readonly reason: "io-in";
      readonly port: number;
      readonly size: number;
      readonly count: number;
      readonly data: Uint8Array;
    }
  | {
      readonly reason: "io-out";
      readonly port: number;
      readonly size: number;
      readonly count: number;
      readonly data: Uint8Array;
    }
  | { readonly reason: "mmio-read"; readonly gpa: bigint; readonly size: number; readonly data: Uint8Array }
  | { readonly reason: "mmio-write"; readonly gpa: bigint; readonly size: number; readonly data: Uint8Array }
  | { readonly reason: "hlt" }
  | { readonly reason: "interrupted" }
  | { readonly reason: "irq-window-open" }
  | { readonly reason: "shutdown" }
  | { readonly reason: "debug" }
  | { readonly reason: "system-event"; readonly type: number; readonly data: readonly bigint[] }
  | { readonly reason: "ioapic-eoi"; readonly vector: number }
  | { readonly reason: "hypercall"; readonly nr: bigint }
  | { readonly reason: "rdmsr" | "wrmsr"; readonly index: number; readonly data: bigint }
  | { readonly reason: "dirty-ring-full" }
  | { readonly reason: "fail-entry"; readonly hardwareReason: bigint; readonly cpu: number }
  | { readonly reason: "internal-error"; readonly suberror: number; readonly data: readonly bigint[] }
  | { readonly reason: "unknown"; readonly exitReason: number; readonly hardwareReason: bigint };

const { kvm_run } = abi;

/** Reads the exit out of a run mapping that KVM has just left. */
export function decodeExit(run: Uint8Array): VcpuExit {
  const view = new DataView(run.buffer, run.byteOffset, run.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const u64 = (offset: number) => view.getBigUint64(offset, true);
  const u64s = (offset: number, count: number) =>
    Array.from({ length: Math.min(count, 16) }, (_, i) => u64(offset + 8 * i));
  const reason = u32(kvm_run.exit_reason);
  switch (reason) {
    case abi.KVM_EXIT_IO: {
      const size = view.getUint8(kvm_run.io_size);
      const count = u32(kvm_run.io_count);
      const at = Number(u64(kvm_run.io_data_offset));
      return {
        reason: view.getUint8(kvm_run.io_direction) === abi.KVM_EXIT_IO_IN ? "io-in" : "io-out",
        port: view.getUint16(kvm_run.io_port, true),
        size,
        count,
        data: run.subarray(at, at + size * count),
      };
    }
    case abi.KVM_EXIT_MMIO: {
      const size = u32(kvm_run.mmio_len);
      return {
        reason: view.getUint8(kvm_run.mmio_is_write) === 0 ? "mmio-read" : "mmio-write",
        gpa: u64(kvm_run.mmio_phys_addr),
        size,
        data: run.subarray(kvm_run.mmio_data, kvm_run.mmio_data + size),
      };
    }
    case abi.KVM_EXIT_HLT:
      return { reason: "hlt" };
    case abi.KVM_EXIT_INTR:
      return { reason: "interrupted" };
    case abi.KVM_EXIT_IRQ_WINDOW_OPEN:
      return { reason: "irq-window-open" };
    case abi.KVM_EXIT_SHUTDOWN:
      return { reason: "shutdown" };
    case abi.KVM_EXIT_DEBUG:
      return { reason: "debug" };
    case abi.KVM_EXIT_SYSTEM_EVENT:
      return {
        reason: "system-event",
        type: u32(kvm_run.system_event_type),
        data: u64s(kvm_run.system_event_data, u32(kvm_run.system_event_ndata)),
      };
    case abi.KVM_EXIT_IOAPIC_EOI:
      return { reason: "ioapic-eoi", vector: view.getUint8(kvm_run.eoi_vector) };
    case abi.KVM_EXIT_HYPERCALL:
      return { reason: "hypercall", nr: u64(kvm_run.hypercall_nr) };
    case abi.KVM_EXIT_X86_RDMSR:
    case abi.KVM_EXIT_X86_WRMSR:
      return {
        reason: reason === abi.KVM_EXIT_X86_RDMSR ? "rdmsr" : "wrmsr",
        index: u32(kvm_run.msr_index),
        data: u64(kvm_run.msr_data),
      };
    case abi.KVM_EXIT_DIRTY_RING_FULL:
      return { reason: "dirty-ring-full" };
    case abi.KVM_EXIT_FAIL_ENTRY:
      return {
        reason: "fail-entry",
        hardwareReason: u64(kvm_run.fail_entry_hardware_entry_failure_reason),
        cpu: u32(kvm_run.fail_entry_cpu),
      };
    case abi.KVM_EXIT_INTERNAL_ERROR:
      return {
        reason: "internal-error",
        suberror: u32(kvm_run.internal_suberror),
        data: u64s(kvm_run.internal_data, u32(kvm_run.internal_ndata)),
      };
    default:
      return { reason: "unknown", exitReason: reason, hardwareReason: u64(kvm_run.hw_hardware_exit_reason) };
  }
}

/** An exit as a sentence, for logs and errors. */
export function describeExit(exit: VcpuExit): string {
  const hex = (value: bigint | number) => `0x${value.toString(16)}`;
  switch (exit.reason) {
    case "io-in":
    case "io-out":
      return `${exit.reason} port ${hex(exit.port)}, ${exit.count} x ${exit.size} bytes`;
    case "mmio-read":
    case "mmio-write":
      return `${exit.reason} ${hex(exit.gpa)}, ${exit.size} bytes`;
    case "shutdown":
      return "triple fault";
    case "system-event":
      return `system event ${exit.type}`;
    case "ioapic-eoi":
      return `end of interrupt ${exit.vector}`;
    case "hypercall":
      return `hypercall ${exit.nr}`;
    case "rdmsr":
    case "wrmsr":
      return `${exit.reason} ${hex(exit.index)}`;
    case "fail-entry":
      return `KVM could not enter the guest (hardware reason ${hex(exit.hardwareReason)})`;
    case "internal-error":
      return `KVM internal error ${exit.suberror} (${exit.data.map(hex).join(" ")})`;
    case "unknown":
      return `unknown exit ${exit.exitReason} (hardware reason ${hex(exit.hardwareReason)})`;
    case "hlt":
    case "interrupted":
    case "irq-window-open":
    case "debug":
    case "dirty-ring-full":
      return exit.reason;
    default:
      return exit satisfies never;
  }
}
