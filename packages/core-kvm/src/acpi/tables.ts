import { Struct } from "../struct.js";
import { concat } from "./aml.js";

const OEM_ID = "BATON ";
const OEM_TABLE_ID = "BATONVMM";
const CREATOR_ID = "BATN";
const HEADER_SIZE = 36;

/** A generic address as ACPI tables hold it (ACPI 6.5, 5.2.3.2). */
export interface GenericAddress {
  readonly space: "memory" | "io";
  readonly address: bigint;
  readonly bits: 8 | 16 | 32 | 64;
}

/** Writes a system description table with its header and checksum (ACPI 6.5, 5.2.6). */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const header = new Struct(HEADER_SIZE).setU32(4, HEADER_SIZE + body.length).setU8(8, revision);
  put(header, 0, signature);
  put(header, 10, OEM_ID);
  put(header, 16, OEM_TABLE_ID);
  header.setU32(24, 1);
  put(header, 28, CREATOR_ID);
  header.setU32(32, 1);
  return withChecksum(concat(header.bytes, body), 9);
}

/** The root pointer, revision 2 (ACPI 6.5, 5.2.5.3). */
export function rsdp(xsdt: bigint): Uint8Array {
  const struct = new Struct(36).setU8(15, 2).setU32(20, 36).setU64(24, xsdt);
  put(struct, 0, "RSD PTR ");
  put(struct, 9, OEM_ID);
  withChecksum(struct.bytes.subarray(0, 20), 8);
  return withChecksum(struct.bytes, 32);
}

/** The list of all other tables (ACPI 6.5, 5.2.8). */
export function xsdt(tables: readonly bigint[]): Uint8Array {
  const body = new Struct(tables.length * 8);
  tables.forEach((address, i) => {
    body.setU64(i * 8, address);
  });
  return table("XSDT", 1, body.bytes);
}

/** What the FADT of a hardware-reduced machine says. */
export interface FadtOptions {
  readonly dsdt: bigint;
  readonly resetRegister: GenericAddress;
  readonly resetValue: number;
  readonly sleepControl: GenericAddress;
  readonly sleepStatus: GenericAddress;
  /** Whether an i8042 keyboard controller answers (for its reset line). */
  readonly has8042: boolean;
}

const FADT_SIZE = 276;
const FLAG_WBINVD = 1 << 0;
const FLAG_SLEEP_BUTTON = 1 << 5;
const FLAG_RESET_REGISTER = 1 << 10;
const FLAG_HARDWARE_REDUCED = 1 << 20;
const BOOT_8042 = 1 << 1;
const BOOT_NO_VGA = 1 << 2;
const BOOT_NO_ASPM = 1 << 4;

/** The fixed description of a hardware-reduced machine (ACPI 6.5, 5.2.9). */
export function fadt(options: FadtOptions): Uint8Array {
  const at = (offset: number) => offset - HEADER_SIZE;
  const body = new Struct(FADT_SIZE - HEADER_SIZE)
    .setU16(at(109), BOOT_NO_VGA | BOOT_NO_ASPM | (options.has8042 ? BOOT_8042 : 0))
    .setU32(at(112), FLAG_WBINVD | FLAG_SLEEP_BUTTON | FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED)
    .setU8(at(128), options.resetValue)
    .setU8(at(131), 5)
    .setU64(at(140), options.dsdt);
  putAddress(body, at(116), options.resetRegister);
  putAddress(body, at(244), options.sleepControl);
  putAddress(body, at(256), options.sleepStatus);
  return table("FACP", 6, body.bytes);
}

/** What the MADT lists. */
export interface MadtOptions {
  readonly lapic: bigint;
  readonly ioapic: { readonly id: number; readonly address: bigint; readonly gsiBase: number };
  /** The APIC id of every vCPU that can exist, and whether it is there from the start. */
  readonly cpus: readonly { readonly apicId: number; readonly enabled: boolean }[];
}

/** The interrupt controllers (ACPI 6.5, 5.2.12); ISA interrupts 0 to 15 are edge-triggered GSIs of the same number. */
export function madt(options: MadtOptions): Uint8Array {
  const head = new Struct(8).setU32(0, Number(options.lapic)).setU32(4, 0);
  const cpus = options.cpus.map(({ apicId, enabled }, uid) =>
    apicId < 255
      ? new Struct(8)
          .setU8(0, 0)
          .setU8(1, 8)
          .setU8(2, uid & 0xff)
          .setU8(3, apicId)
          .setU32(4, enabled ? 1 : 2)
      : new Struct(16)
          .setU8(0, 9)
          .setU8(1, 16)
          .setU32(4, apicId)
          .setU32(8, enabled ? 1 : 2)
          .setU32(12, uid),
  );
  const { id, address, gsiBase } = options.ioapic;
  const ioapic = new Struct(12).setU8(0, 1).setU8(1, 12).setU8(2, id).setU32(4, Number(address)).setU32(8, gsiBase);
  const nmi = new Struct(6).setU8(0, 4).setU8(1, 6).setU8(2, 0xff).setU8(5, 1);
  return table("APIC", 4, concat(head.bytes, ...cpus.map((cpu) => cpu.bytes), ioapic.bytes, nmi.bytes));
}

function put(struct: Struct, offset: number, text: string): void {
  struct.bytes.set(new TextEncoder().encode(text), offset);
}

function putAddress(struct: Struct, offset: number, address: GenericAddress): void {
  struct
    .setU8(offset, address.space === "memory" ? 0 : 1)
    .setU8(offset + 1, address.bits)
    .setU8(offset + 3, Math.log2(address.bits / 8) + 1)
    .setU64(offset + 4, address.address);
}

/** Sets the byte that makes all bytes sum up to zero. */
function withChecksum(bytes: Uint8Array, offset: number): Uint8Array {
  bytes[offset] = 0;
  bytes[offset] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}
