import { bootLayout } from "@baton/core-kvm";
import type { Machine } from "../../machine/machine.js";

/** A stretch of an address space. */
interface MemoryRange {
  readonly base: bigint;
  readonly length: bigint;
  readonly kind: "ram" | "i/o";
  readonly name: string;
}

/** Chips that KVM has: they are not on the bus. */
const kernelMmio: readonly MemoryRange[] = [
  { base: bootLayout.ioapic, length: 0x1000n, kind: "i/o", name: "kvm-ioapic" },
  { base: bootLayout.lapic, length: 0x10_0000n, kind: "i/o", name: "kvm-apic-msi" },
];
const kernelPorts: readonly MemoryRange[] = [
  { base: 0x20n, length: 2n, kind: "i/o", name: "kvm-pic" },
  { base: 0x40n, length: 4n, kind: "i/o", name: "kvm-pit" },
  { base: 0xa0n, length: 2n, kind: "i/o", name: "kvm-pic" },
  { base: 0x4d0n, length: 2n, kind: "i/o", name: "kvm-elcr" },
];

/** The guest's address spaces and who answers where, in the form of `info mtree`. */
export function memoryTree({ bus, memory }: Pick<Machine, "bus" | "memory">): string {
  const ranges = (space: "mmio" | "pio") =>
    bus.devices.flatMap(({ name, ranges }) =>
      ranges
        .filter((range) => range.space === space)
        .map(({ base, length }): MemoryRange => ({ base, length: BigInt(length), kind: "i/o", name })),
    );
  const { regions } = memory.describe();
  const ram = regions.map(({ gpa, size, blockId, offset }): MemoryRange => {
    const inBlock = `${hex(offset)}-${hex(offset + size - 1n)}`;
    const name = gpa < bootLayout.highRamBase ? "ram-below-4g" : "ram-above-4g";
    return { base: gpa, length: size, kind: "ram", name: `alias ${name} @${blockId} ${inBlock}` };
  });
  const blocks = new Map(regions.map((region) => [region.blockId, region.blockSize]));
  return [
    space("memory", { base: 0n, length: 1n << 64n, kind: "i/o", name: "system" }, [
      ...ram,
      ...ranges("mmio"),
      ...kernelMmio,
    ]),
    space("I/O", { base: 0n, length: 0x10000n, kind: "i/o", name: "io" }, [...ranges("pio"), ...kernelPorts]),
    ...[...blocks].map(
      ([name, length]) => `memory-region: ${name}\n${shown({ base: 0n, length, kind: "ram", name }, 2)}\n`,
    ),
  ].join("");
}

function space(name: string, whole: MemoryRange, parts: readonly MemoryRange[]): string {
  const sorted = [...parts].sort((a, b) => (a.base < b.base ? -1 : 1));
  return `address-space: ${name}\n${shown(whole, 2)}${sorted.map((part) => shown(part, 4)).join("")}\n`;
}

function shown({ base, length, kind, name }: MemoryRange, indent: number): string {
  return `${" ".repeat(indent)}${hex(base)}-${hex(base + length - 1n)} (prio 0, ${kind}): ${name}\n`;
}

function hex(address: bigint): string {
  return address.toString(16).padStart(16, "0");
}
