import { type VmstateSchema, vmstateSchema } from "@baton/migration/vmstate";
import { globalStateVmstate } from "./global-state.js";
import { type InventoryDevice, machineInventory } from "./inventory.js";
import { sectionsOf } from "./sections.js";

/** Every device that has sections, with so many queues that each kind of them is there. */
const DEVICES: readonly Pick<InventoryDevice, "model" | "queues">[] = [
  { model: "virtio-balloon", queues: 3 },
  { model: "virtio-blk", queues: 1 },
  { model: "virtio-console", queues: 4 },
  { model: "virtio-net", queues: 3 },
  { model: "virtio-rng", queues: 1 },
  { model: "virtio-vsock", queues: 3 },
  { model: "vhost-vsock", queues: 3 },
];

/**
 * What the streams of this version consist of: all sections with their fields. `schemaBreaks` compares it with that of
 * another version.
 */
export function machineSchema(): VmstateSchema {
  const facts = { gsi: 0, packed: true, inOrder: true, empty: false };
  const devices = DEVICES.map((device, index) => ({ ...device, ...facts, id: device.model, place: `slot${index}` }));
  const inventory = { ...machineInventory({ memory: { sizeMiB: 1 }, boot: { kernel: "" } }), devices };
  return vmstateSchema([...sectionsOf(inventory).map(({ descriptor }) => descriptor), globalStateVmstate]);
}
