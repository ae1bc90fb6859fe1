import type { GuestMemory } from "@baton/memory";
import { bootLayout } from "../x86/boot/layout.js";
import { rsdp, xsdt } from "./tables.js";

/** Tables of which all but the root are placed before the root is known. */
export interface AcpiTables {
  readonly dsdt: Uint8Array;
  /** Makes the FADT once the DSDT's address is known. */
  fadt(dsdt: bigint): Uint8Array;
  readonly others: readonly Uint8Array[];
}

const ALIGNMENT = 64n;

/** Writes the tables into the BIOS area of guest memory; returns the root pointer's address. */
export function writeAcpi(memory: GuestMemory, tables: AcpiTables): bigint {
  const root = bootLayout.acpi;
  let next = root + ALIGNMENT;
  const place = (bytes: Uint8Array): bigint => {
    const gpa = next;
    memory.write(gpa, bytes);
    next = (gpa + BigInt(bytes.length) + ALIGNMENT - 1n) & ~(ALIGNMENT - 1n);
    return gpa;
  };
  const fadt = place(tables.fadt(place(tables.dsdt)));
  const list = place(xsdt([fadt, ...tables.others.map(place)]));
  memory.write(root, rsdp(list));
  return root;
}
