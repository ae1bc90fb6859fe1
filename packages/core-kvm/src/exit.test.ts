import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import * as abi from "./abi/kvm.js";
import { decodeExit, describeExit } from "./exit.js";
import { Struct } from "./struct.js";

const { kvm_run } = abi;

/** A run mapping as KVM leaves it. */
function left(reason: number, fill: (run: Struct) => void = () => {}): Uint8Array {
  const run = new Struct(3 * 4096).setU32(kvm_run.exit_reason, reason);
  fill(run);
  return run.bytes;
}

describe("exits", () => {
  it("carry a view of string I/O's elements", () => {
    const run = left(abi.KVM_EXIT_IO, (s) =>
      s
        .setU8(kvm_run.io_direction, abi.KVM_EXIT_IO_OUT)
        .setU8(kvm_run.io_size, 2)
        .setU16(kvm_run.io_port, 0x3f8)
        .setU32(kvm_run.io_count, 3)
        .setU64(kvm_run.io_data_offset, 4096n),
    );
    const exit = decodeExit(run);
    expect(exit).toMatchObject({ reason: "io-out", port: 0x3f8, size: 2, count: 3 });
    if (exit.reason !== "io-out") return;
    run[4096 + 5] = 9;
    expect([exit.data.length, exit.data[5]]).toEqual([6, 9]);
    expect(describeExit(exit)).toBe("io-out port 0x3f8, 3 x 2 bytes");
  });

  it("carry memory accesses with 64-bit addresses", () => {
    const mmio = (write: number) =>
      decodeExit(
        left(abi.KVM_EXIT_MMIO, (s) =>
          s
            .setU64(kvm_run.mmio_phys_addr, 0xf_ffff_ffff_f000n)
            .setU32(kvm_run.mmio_len, 8)
            .setU8(kvm_run.mmio_is_write, write),
        ),
      );
    expect(mmio(0)).toMatchObject({ reason: "mmio-read", gpa: 0xf_ffff_ffff_f000n, size: 8 });
    expect(mmio(1).reason).toBe("mmio-write");
    expect(describeExit(mmio(1))).toBe("mmio-write 0xffffffffff000, 8 bytes");
  });

  it("bound what the kernel says it has written", () => {
    const count = (reason: number, field: number) => {
      const exit = decodeExit(left(reason, (s) => s.setU32(field, 0xffffffff)));
      return "data" in exit ? (exit.data as readonly bigint[]).length : -1;
    };
    expect(count(abi.KVM_EXIT_INTERNAL_ERROR, kvm_run.internal_ndata)).toBe(16);
    expect(count(abi.KVM_EXIT_SYSTEM_EVENT, kvm_run.system_event_ndata)).toBe(16);
  });

  it.each([
    [abi.KVM_EXIT_HLT, "hlt", "hlt"],
    [abi.KVM_EXIT_INTR, "interrupted", "interrupted"],
    [abi.KVM_EXIT_SHUTDOWN, "shutdown", "triple fault"],
    [abi.KVM_EXIT_DEBUG, "debug", "debug"],
    [abi.KVM_EXIT_IRQ_WINDOW_OPEN, "irq-window-open", "irq-window-open"],
    [abi.KVM_EXIT_IOAPIC_EOI, "ioapic-eoi", "end of interrupt 0"],
    [abi.KVM_EXIT_HYPERCALL, "hypercall", "hypercall 0"],
    [abi.KVM_EXIT_X86_RDMSR, "rdmsr", "rdmsr 0x0"],
    [abi.KVM_EXIT_X86_WRMSR, "wrmsr", "wrmsr 0x0"],
    [abi.KVM_EXIT_DIRTY_RING_FULL, "dirty-ring-full", "dirty-ring-full"],
    [abi.KVM_EXIT_FAIL_ENTRY, "fail-entry", "KVM could not enter the guest (hardware reason 0x0)"],
    [0xffff, "unknown", "unknown exit 65535 (hardware reason 0x0)"],
  ])("know reason %i as %s", (number, reason, text) => {
    const exit = decodeExit(left(number));
    expect(exit.reason).toBe(reason);
    expect(describeExit(exit)).toBe(text);
  });

  it("can be read and described whatever the reason", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 64 }),
        fc.uint8Array({ minLength: 200, maxLength: 200 }),
        (reason, bytes) => {
          const run = new Uint8Array(3 * 4096);
          run.set(bytes);
          new DataView(run.buffer).setUint32(kvm_run.exit_reason, reason, true);
          expect(describeExit(decodeExit(run))).toEqual(expect.any(String));
        },
      ),
    );
  });
});
