import { type StateOf, vmstate } from "@baton/migration/vmstate";
import { kvm_pit_state2 } from "../../abi/kvm.js";
import { applyPatches, bytePatches, patchesBetween } from "../../byte-patch.js";
import { checkStateBytes } from "../../state-bytes.js";
import { CHIP_BYTES, type IrqchipState } from "../irqchip.js";
import { type I8254Section, joinI8254, saveI8254 } from "./i8254.js";
import { type I8259Section, joinI8259, saveI8259 } from "./i8259.js";
import { type IoapicSection, joinIoapic, saveIoapic } from "./ioapic.js";

/** Baton's section `baton/chips`: the bytes of the kernel's structures that QEMU's sections have no room for. */
export const ownChipsVmstate = vmstate({
  name: "baton/chips",
  version: 1,
  fields: { picMaster: bytePatches, picSlave: bytePatches, ioapic: bytePatches, pit: bytePatches },
});

/** What Baton has of the chips beyond QEMU's layouts. */
export type OwnChipsSection = StateOf<typeof ownChipsVmstate>;

/** The in-kernel chips of a machine. */
export interface ChipsState {
  readonly irqchip: IrqchipState;
  /** `kvm_pit_state2`. */
  readonly pit: Uint8Array;
}

/** The sections of the chips. */
export interface ChipsSections {
  readonly picMaster: I8259Section;
  readonly picSlave: I8259Section;
  readonly ioapic: IoapicSection;
  readonly pit: I8254Section;
  readonly own: OwnChipsSection;
}

/** The chips' state as sections. Throws `STATE_INVALID` for structures of other sizes than the kernel's. */
export function saveChips({ irqchip, pit }: ChipsState): ChipsSections {
  for (const name of ["picMaster", "picSlave", "ioapic"] as const) checkStateBytes(name, irqchip[name], CHIP_BYTES);
  checkStateBytes("pit", pit, kvm_pit_state2.size);
  const sections = {
    picMaster: saveI8259(irqchip.picMaster),
    picSlave: saveI8259(irqchip.picSlave),
    ioapic: saveIoapic(irqchip.ioapic),
    pit: saveI8254(pit),
  };
  const expected = expectedChips(sections);
  return {
    ...sections,
    own: {
      picMaster: patchesBetween(expected.picMaster, irqchip.picMaster),
      picSlave: patchesBetween(expected.picSlave, irqchip.picSlave),
      ioapic: patchesBetween(expected.ioapic, irqchip.ioapic),
      pit: patchesBetween(expected.pit, pit),
    },
  };
}

/** The state that the sections are of. Throws `STATE_INVALID` where they make none. */
export function joinChips(sections: ChipsSections): ChipsState {
  const { picMaster, picSlave, ioapic, pit } = expectedChips(sections);
  const { own } = sections;
  return {
    irqchip: {
      picMaster: applyPatches("the master PIC", picMaster, own.picMaster),
      picSlave: applyPatches("the slave PIC", picSlave, own.picSlave),
      ioapic: applyPatches("the IOAPIC", ioapic, own.ioapic),
    },
    pit: applyPatches("the PIT", pit, own.pit),
  };
}

function expectedChips(sections: Omit<ChipsSections, "own">) {
  return {
    picMaster: joinI8259(sections.picMaster, CHIP_BYTES),
    picSlave: joinI8259(sections.picSlave, CHIP_BYTES),
    ioapic: joinIoapic(sections.ioapic, CHIP_BYTES),
    pit: joinI8254(sections.pit),
  };
}
