import { GuestMemory, RamBlock } from "@baton/memory";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { writeAcpi } from "./build.js";
import { fadt, madt, rsdp, table, xsdt } from "./tables.js";

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;
const text = (bytes: Uint8Array, at: number, length: number) => Buffer.from(bytes).toString("latin1", at, at + length);

const fixed = (dsdt: bigint) =>
  fadt({
    dsdt,
    resetRegister: { space: "memory", address: 0xfea00202n, bits: 8 },
    resetValue: 0x42,
    sleepControl: { space: "memory", address: 0xfea00200n, bits: 8 },
    sleepStatus: { space: "io", address: 0x600n, bits: 16 },
    has8042: true,
  });

describe("ACPI tables", () => {
  it("sum up to zero whatever is in them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (body) => {
        const made = table("TEST", 3, body);
        expect(sum(made)).toBe(0);
        expect(Buffer.from(made).readUInt32LE(4)).toBe(36 + body.length);
        expect([...made.subarray(36)]).toEqual([...body]);
      }),
    );
  });

  it("have a root pointer with two checksums", () => {
    const pointer = rsdp(0x1234_5678_9abcn);
    expect(text(pointer, 0, 8)).toBe("RSD PTR ");
    expect([sum(pointer.subarray(0, 20)), sum(pointer), pointer[15]]).toEqual([0, 0, 2]);
    expect(Buffer.from(pointer).readBigUInt64LE(24)).toBe(0x1234_5678_9abcn);
  });

  it("describe a hardware-reduced machine", () => {
    const bytes = Buffer.from(fixed(0xe0040n));
    expect([sum(bytes), bytes.length, bytes[8], bytes[131]]).toEqual([0, 276, 6, 5]);
    expect(bytes.readUInt32LE(112) & ((1 << 20) | (1 << 10))).toBe((1 << 20) | (1 << 10));
    expect(bytes.readUInt16LE(109) & 2).toBe(2);
    expect(bytes.readBigUInt64LE(140)).toBe(0xe0040n);
    expect([...bytes.subarray(116, 120)]).toEqual([0, 8, 0, 1]);
    expect(bytes.readBigUInt64LE(120)).toBe(0xfea00202n);
    expect([...bytes.subarray(256, 260)]).toEqual([1, 16, 0, 2]);
  });

  it("give large APIC ids entries of their own kind", () => {
    const bytes = madt({
      lapic: 0xfee00000n,
      ioapic: { id: 0, address: 0xfec00000n, gsiBase: 0 },
      cpus: [
        { apicId: 254, enabled: true },
        { apicId: 255, enabled: false },
        { apicId: 70_000, enabled: true },
      ],
    });
    expect(sum(bytes)).toBe(0);
    const kinds: number[] = [];
    for (let at = 44; at < bytes.length; at += bytes[at + 1] as number) kinds.push(bytes[at] as number);
    expect(kinds).toEqual([0, 9, 9, 1, 4]);
  });

  it("are found from the root in guest memory", () => {
    using block = RamBlock.create({ id: "ram", size: 1n << 20n, backend: { kind: "memfd" } });
    const memory = GuestMemory.layout([block]);
    const read = (gpa: bigint, length: number) => {
      const bytes = new Uint8Array(length);
      memory.read(gpa, bytes);
      return bytes;
    };
    const at = (gpa: bigint) => read(gpa, Number(memory.readU32(gpa + 4n)));
    const root = writeAcpi(memory, { dsdt: table("DSDT", 2, new Uint8Array(1000)), fadt: fixed, others: [xsdt([1n])] });
    expect(text(read(root, 8), 0, 8)).toBe("RSD PTR ");
    const list = Buffer.from(at(memory.readU64(root + 24n)));
    expect([text(list, 0, 4), sum(list), list.length]).toEqual(["XSDT", 0, 36 + 16]);
    const facp = Buffer.from(at(list.readBigUInt64LE(36)));
    expect([text(facp, 0, 4), sum(facp)]).toEqual(["FACP", 0]);
    const dsdt = at(facp.readBigUInt64LE(140));
    expect([text(dsdt, 0, 4), sum(dsdt), dsdt.length]).toEqual(["DSDT", 0, 1036]);
    expect(text(at(list.readBigUInt64LE(44)), 0, 4)).toBe("XSDT");
  });
});
