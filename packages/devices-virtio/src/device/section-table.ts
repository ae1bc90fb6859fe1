import { balloonSections } from "../balloon/vmstate.js";
import { blkSections } from "../blk/vmstate.js";
import { consoleSections } from "../console/vmstate.js";
import { netSections } from "../net/vmstate.js";
import { rngSections } from "../rng/vmstate.js";
import { type SavedSockets, vhostVsockSections, vsockSections } from "../vsock/vmstate.js";
import type { VirtioSections } from "./sections.js";

const table: ReadonlyMap<string, VirtioSections> = new Map([
  ["virtio-balloon", balloonSections],
  ["virtio-blk", blkSections],
  ["virtio-console", consoleSections],
  ["virtio-net", netSections],
  ["virtio-rng", rngSections],
  ["vhost-vsock", vhostVsockSections],
]);

/** How states of devices of a model become sections; undefined for a model of somebody else's. */
export function virtioSectionsOf(model: string, sockets: SavedSockets = "left"): VirtioSections | undefined {
  return model === "virtio-vsock" ? vsockSections(sockets) : table.get(model);
}
