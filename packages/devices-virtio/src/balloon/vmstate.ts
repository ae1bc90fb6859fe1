import {
  bool,
  existsIf,
  list,
  named,
  type StateOf,
  struct,
  text,
  u32,
  u64,
  type Vmstate,
  vmstate,
} from "@baton/migration/vmstate";
import { virtioSections } from "../device/sections.js";
import { chainVmstate, NO_CHAIN, saveChain } from "../queue/vmstate.js";
import type { BalloonState } from "./device.js";

const statistic = vmstate({ name: "baton/balloon-statistic", version: 1, fields: { name: text, value: u64 } });

/** Baton's part: the statistics, and the buffer of the guest's that they are asked with. */
const own = vmstate({
  name: "baton/virtio-balloon",
  version: 1,
  fields: {
    statistics: list(struct(statistic)),
    lastUpdate: u64,
    hasHeld: bool,
    held: existsIf(["hasHeld"], ({ hasHeld }: { hasHeld: boolean }) => hasHeld, struct(chainVmstate), NO_CHAIN),
  },
});

const device = vmstate({
  name: "virtio-balloon-device",
  version: 1,
  fields: { target: named("num_pages", u32), actual: u32 },
  subsections: {
    freePages: vmstate({
      name: "virtio-balloon-device/free-page-report",
      version: 1,
      fields: { command: named("free_page_hint_cmd_id", u32), status: named("free_page_hint_status", u32) },
    }),
    poison: vmstate({
      name: "virtio-balloon-device/page-poison",
      version: 1,
      fields: { value: named("poison_val", u32) },
    }),
  },
}) satisfies Vmstate<BalloonPages>;

interface BalloonPages {
  target: number;
  actual: number;
  freePages?: { command: number; status: number } | undefined;
  poison?: { value: number } | undefined;
}

/** Sections of balloons: QEMU's `virtio-balloon`, version 1, and {@link own}. QEMU: hw/virtio/virtio-balloon.c. */
export const balloonSections = virtioSections({
  name: "virtio-balloon",
  version: 1,
  fields: () => ({ balloon: struct(device) }),
  own,
  split({ target, actual, statistics, lastUpdate, held }: BalloonState) {
    const section: StateOf<typeof own> = {
      statistics: Object.entries(statistics).map(([name, value]) => ({ name, value })),
      lastUpdate: BigInt(lastUpdate),
      hasHeld: held !== null,
      held: held === null ? NO_CHAIN : saveChain(held),
    };
    return { qemu: { balloon: { target, actual } }, own: section };
  },
  join({ balloon }, { statistics, lastUpdate, hasHeld, held }): BalloonState {
    return {
      target: balloon.target,
      actual: balloon.actual,
      statistics: Object.fromEntries(statistics.map(({ name, value }) => [name, value])),
      lastUpdate: Number(lastUpdate),
      held: hasHeld ? held : null,
    };
  },
});
