import { BatonError } from "@baton/linux";
import { buffer, type StateOf, u8, u32, unused, vmstate } from "@baton/migration/vmstate";
import { isRunState, type RunState } from "../../run-state.js";

const NAME_BYTES = 32;

/** The run state that the guest was in. QEMU: migration/global_state.c. */
export const globalStateVmstate = vmstate({
  name: "globalstate",
  version: 1,
  fields: {
    size: u32,
    runstate: buffer(NAME_BYTES),
    hasSuspended: u8,
    suspended: u8,
    unused: unused(66),
  },
});

/** A section with a run state. */
export type GlobalStateSection = StateOf<typeof globalStateVmstate>;

/** The section of a run state. */
export function saveGlobalState(runState: RunState): GlobalStateSection {
  const runstate = new Uint8Array(NAME_BYTES);
  const { written } = new TextEncoder().encodeInto(runState, runstate);
  return { size: written + 1, runstate, hasSuspended: 1, suspended: 0 };
}

/** The run state of a section. Throws `STATE_INVALID` for one that there is not. */
export function joinGlobalState({ runstate }: GlobalStateSection): RunState {
  const end = runstate.indexOf(0);
  const name = new TextDecoder().decode(end < 0 ? runstate : runstate.subarray(0, end));
  if (isRunState(name)) return name;
  throw new BatonError("STATE_INVALID", `globalstate/runstate: there is no run state '${name}'`);
}
