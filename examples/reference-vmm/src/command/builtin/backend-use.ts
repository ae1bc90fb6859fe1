import { BatonError } from "@baton/linux";
import type { CommandContext } from "../command.js";

/** Fails with `BACKEND_IN_USE` where a device stands on the back end: both have one name. */
export function checkUnused({ vm }: CommandContext, id: string, what: string): void {
  if (vm.machine.virtio.find(id) === undefined) return;
  throw new BatonError("BACKEND_IN_USE", `The ${what} '${id}' is in use: device '${id}' stands on it`, {
    details: { device: id },
  });
}
