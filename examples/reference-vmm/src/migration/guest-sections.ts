import type { ExpectedSection, OutgoingSection } from "@baton/migration";
import {
  type GlobalStateSection,
  globalStateVmstate,
  joinGlobalState,
  saveGlobalState,
} from "../machine/vmstate/global-state.js";
import { checkInventory, inventoryVmstate, type MachineInventory } from "../machine/vmstate/inventory.js";
import { type IncomingSection, joinSections, saveSections, sectionsOf } from "../machine/vmstate/sections.js";
import type { ArrivingGuest, DepartingGuest } from "../virtual-machine.js";

const GLOBAL_STATE = { idstr: "globalstate", instanceId: 0, descriptor: globalStateVmstate };

/** The sections of a guest's stream: those of its machine, and its run state. */
export function departingSections({ state, runState }: DepartingGuest, inventory: MachineInventory): OutgoingSection[] {
  return [...saveSections(state, inventory), { ...GLOBAL_STATE, state: saveGlobalState(runState) }];
}

/** The sections that a guest's stream must have. */
export function expectedSections(inventory: MachineInventory): ExpectedSection[] {
  const check = (state: unknown) => checkInventory(state as MachineInventory, inventory);
  const sections = sectionsOf(inventory).map((section) => ({
    ...section,
    // What does not fit is told by what differs, before anything else of it is looked at.
    ...(section.descriptor === inventoryVmstate && { check }),
  }));
  return [...sections, GLOBAL_STATE];
}

/** The guest that these sections are of. Errors are those of `joinSections`. */
export function joinArriving(sections: readonly IncomingSection[], inventory: MachineInventory): ArrivingGuest {
  const global = sections.find(({ idstr }) => idstr === GLOBAL_STATE.idstr);
  const machine = sections.filter((section) => section !== global);
  return {
    state: joinSections(machine, inventory),
    runState: joinGlobalState(global?.state as GlobalStateSection),
  };
}
