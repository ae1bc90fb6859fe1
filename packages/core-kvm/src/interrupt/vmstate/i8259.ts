import { named, type StateOf, u8, vmstate } from "@baton/migration/vmstate";
import { kvm_pic_state } from "../../abi/kvm.js";
import { Struct } from "../../struct.js";

/**
 * QEMU's section `i8259`, version 1: instance 0 is the master, 1 the slave. `singleMode` is QEMU's own: it is written as
 * 0 and means nothing on load. QEMU: hw/intc/i8259_common.c.
 */
export const i8259Vmstate = vmstate({
  name: "i8259",
  version: 1,
  fields: {
    lastIrr: named("last_irr", u8),
    irr: u8,
    imr: u8,
    isr: u8,
    priorityAdd: named("priority_add", u8),
    irqBase: named("irq_base", u8),
    readRegSelect: named("read_reg_select", u8),
    poll: u8,
    specialMask: named("special_mask", u8),
    initState: named("init_state", u8),
    autoEoi: named("auto_eoi", u8),
    rotateOnAutoEoi: named("rotate_on_auto_eoi", u8),
    specialFullyNestedMode: named("special_fully_nested_mode", u8),
    init4: u8,
    singleMode: named("single_mode", u8),
    elcr: u8,
  },
});

/** A PIC in QEMU's layout. */
export type I8259Section = StateOf<typeof i8259Vmstate>;

const places: readonly (readonly [Exclude<keyof I8259Section, "singleMode">, number])[] = [
  ["lastIrr", kvm_pic_state.last_irr],
  ["irr", kvm_pic_state.irr],
  ["imr", kvm_pic_state.imr],
  ["isr", kvm_pic_state.isr],
  ["priorityAdd", kvm_pic_state.priority_add],
  ["irqBase", kvm_pic_state.irq_base],
  ["readRegSelect", kvm_pic_state.read_reg_select],
  ["poll", kvm_pic_state.poll],
  ["specialMask", kvm_pic_state.special_mask],
  ["initState", kvm_pic_state.init_state],
  ["autoEoi", kvm_pic_state.auto_eoi],
  ["rotateOnAutoEoi", kvm_pic_state.rotate_on_auto_eoi],
  ["specialFullyNestedMode", kvm_pic_state.special_fully_nested_mode],
  ["init4", kvm_pic_state.init4],
  ["elcr", kvm_pic_state.elcr],
];

/** The kernel's `kvm_pic_state` in QEMU's layout. */
export function saveI8259(chip: Uint8Array): I8259Section {
  const state = new Struct(chip);
  const section: Record<string, number> = { singleMode: 0 };
  for (const [name, offset] of places) section[name] = state.u8(offset);
  return section as I8259Section;
}

/** The kernel's structure, `bytes` long, with what QEMU's section has; zeros elsewhere. */
export function joinI8259(section: I8259Section, bytes: number): Uint8Array {
  const state = new Struct(bytes);
  for (const [name, offset] of places) state.setU8(offset, section[name]);
  return state.bytes;
}
