import { array, type StateOf, u8, u32, u64, unused, vmstate } from "@baton/migration/vmstate";
import { kvm_ioapic_state } from "../../abi/kvm.js";
import { Struct } from "../../struct.js";

const PINS = 24;

/** QEMU's section `ioapic`, version 3. QEMU: hw/intc/ioapic_common.c. */
export const ioapicVmstate = vmstate({
  name: "ioapic",
  version: 3,
  fields: { id: u8, ioregsel: u8, reserved: unused(8), irr: u32, ioredtbl: array(PINS, u64) },
});

/** The IOAPIC in QEMU's layout. */
export type IoapicSection = StateOf<typeof ioapicVmstate>;

/** The kernel's `kvm_ioapic_state` in QEMU's layout. */
export function saveIoapic(chip: Uint8Array): IoapicSection {
  const state = new Struct(chip);
  return {
    id: state.u8(kvm_ioapic_state.id),
    ioregsel: state.u8(kvm_ioapic_state.ioregsel),
    irr: state.u32(kvm_ioapic_state.irr),
    ioredtbl: Array.from({ length: PINS }, (_, pin) => state.u64(kvm_ioapic_state.redirtbl + pin * 8)),
  };
}

/** The kernel's structure, `bytes` long, with what QEMU's section has; zeros elsewhere. */
export function joinIoapic(section: IoapicSection, bytes: number): Uint8Array {
  const state = new Struct(bytes);
  state.setU8(kvm_ioapic_state.id, section.id).setU8(kvm_ioapic_state.ioregsel, section.ioregsel);
  state.setU32(kvm_ioapic_state.irr, section.irr);
  for (const [pin, entry] of section.ioredtbl.entries()) state.setU64(kvm_ioapic_state.redirtbl + pin * 8, entry);
  return state.bytes;
}
