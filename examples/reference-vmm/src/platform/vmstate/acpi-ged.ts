import { named, type StateOf, struct, u32, vmstate } from "@baton/migration/vmstate";

/** QEMU's section `acpi-ged`, version 1: the events that the guest has not taken. QEMU: hw/acpi/generic_event_device.c. */
export const gedVmstate = vmstate({
  name: "acpi-ged",
  version: 1,
  fields: {
    state: named("ged_state", struct(vmstate({ name: "acpi-ged-state", version: 1, fields: { sel: u32 } }))),
  },
  subsections: {
    memoryHotplug: vmstate({
      name: "acpi-ged/memhp",
      version: 1,
      fields: {
        state: named(
          "memhp_state",
          struct(vmstate({ name: "memory hotplug state", version: 1, fields: { selector: u32 } })),
        ),
      },
    }),
  },
});

/** The generic event device in QEMU's layout. */
export type GedSection = StateOf<typeof gedVmstate>;

/** The device's word of shared memory as a section. */
export function saveGed([pending = 0]: readonly number[]): GedSection {
  return { state: { sel: pending >>> 0 } };
}

/** The word that the section is of. */
export function joinGed({ state }: GedSection): number[] {
  return [state.sel | 0];
}
