import { vmstate } from "@baton/migration/vmstate";
import { virtioSections } from "../device/sections.js";

/** Sections of entropy devices: QEMU's `virtio-rng`, version 1, which has nothing of its own; Baton's neither. */
export const rngSections = virtioSections({
  name: "virtio-rng",
  version: 1,
  fields: () => ({}),
  own: vmstate({ name: "baton/virtio-rng", version: 1, fields: {} }),
  split: (_device: object) => ({ qemu: {}, own: {} }),
  join: () => ({}),
});
