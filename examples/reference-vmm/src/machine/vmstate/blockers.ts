import { virtioSectionsOf } from "@baton/devices-virtio";
import type { VmConfig } from "../../config.js";

/** Something of a machine that cannot go to another process. */
export interface MigrationBlocker {
  /** The device's id or name. */
  readonly device: string;
  readonly reason: string;
}

/** What keeps a machine of this configuration from going to another process; nothing where it can. */
export function migrationBlockers(config: Pick<VmConfig, "devices">): MigrationBlocker[] {
  return (config.devices ?? []).flatMap((each): MigrationBlocker[] => {
    switch (each.kind) {
      case "serial":
        return [];
      case "custom":
        return [{ device: each.device.name, reason: "it is the embedder's own: its state is not known" }];
      case "virtio":
        if (virtioSectionsOf(each.model) !== undefined && each.module === undefined) return [];
        return [{ device: each.id, reason: `no sections are known for a ${each.model} of a module of its own` }];
      default:
        return each satisfies never;
    }
  });
}
