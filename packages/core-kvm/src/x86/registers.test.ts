import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import {
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_debugregs,
  kvm_regs,
  kvm_sregs,
  kvm_sregs2,
  kvm_vcpu_events,
} from "../abi/kvm.js";
import { Struct } from "../struct.js";
import { decodeCpuid, encodeCpuid } from "./cpuid.js";
import {
  decodeDebugRegisters,
  decodeEvents,
  decodeRegisters,
  decodeSpecialRegisters,
  encodeDebugRegisters,
  encodeEvents,
  encodeRegisters,
  encodeSpecialRegisters,
} from "./registers.js";

/** Any bytes that the kernel could have written into a struct. */
const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size }).map((array) => new Struct(array));

/** What is read, written and read again must be the same. */
function roundTrip<T>(size: number, decode: (struct: Struct) => T, encode: (values: T) => Struct): void {
  fc.assert(
    fc.property(bytes(size), (struct) => {
      const values = decode(struct);
      const written = encode(values);
      expect(written.bytes.length).toBe(size);
      expect(decode(written)).toEqual(values);
      expect(structuredClone(values)).toEqual(values);
    }),
  );
}

describe("a vCPU's registers as plain objects", () => {
  it("lose nothing: general registers, byte for byte", () => {
    roundTrip(kvm_regs.size, decodeRegisters, encodeRegisters);
    fc.assert(
      fc.property(bytes(kvm_regs.size), (struct) => {
        expect(encodeRegisters(decodeRegisters(struct)).bytes).toEqual(struct.bytes);
      }),
    );
  });

  it("lose nothing: segments, tables and control registers, in both layouts", () => {
    roundTrip(
      kvm_sregs.size,
      (s) => decodeSpecialRegisters(s, false),
      (v) => encodeSpecialRegisters(v, false),
    );
    roundTrip(
      kvm_sregs2.size,
      (s) => decodeSpecialRegisters(s, true),
      (v) => encodeSpecialRegisters(v, true),
    );
  });

  it("lose nothing: events and debug registers", () => {
    roundTrip(kvm_vcpu_events.size, decodeEvents, encodeEvents);
    roundTrip(kvm_debugregs.size, decodeDebugRegisters, encodeDebugRegisters);
  });

  it("lose nothing: CPUID", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }),
        bytes(kvm_cpuid2.size + 5 * kvm_cpuid_entry2.size),
        (count, struct) => {
          struct.setU32(kvm_cpuid2.nent, count);
          const entries = decodeCpuid(struct);
          expect(entries.length).toBe(count);
          expect(decodeCpuid(encodeCpuid(entries))).toEqual(entries);
        },
      ),
    );
  });
});
