import { bool, existsIf, list, type StateOf, struct, u16, u32, u64, vmstate } from "@baton/migration/vmstate";
import type { ChainState } from "./chain.js";

const piece = vmstate({ name: "baton/chain-piece", version: 1, fields: { gpa: u64, length: u32 } });

/** A chain that a device holds. */
export const chainVmstate = vmstate({
  name: "baton/chain",
  version: 1,
  fields: { id: u32, position: u32, descriptors: u32, readable: list(struct(piece)), writable: list(struct(piece)) },
});

/** A chain as its descriptor has it. */
export type ChainSection = StateOf<typeof chainVmstate>;

/** What stands for a chain that is absent. */
export const NO_CHAIN: ChainSection = { id: 0, position: 0, descriptors: 0, readable: [], writable: [] };

/** A chain for its descriptor. */
export function saveChain({ id, position, descriptors, readable, writable }: ChainState): ChainSection {
  return { id, position, descriptors, readable: [...readable], writable: [...writable] };
}

const inFlight = vmstate({
  name: "baton/in-flight",
  version: 1,
  fields: { id: u16, descriptors: u32, isUsed: bool, written: u32 },
});

/**
 * What QEMU's layout does not have of a queue. Of a queue with a place of its own, `size` and addresses are here; else
 * they are those of the transport's registers.
 */
export const ringVmstate = vmstate({
  name: "baton/ring",
  version: 1,
  fields: {
    present: bool,
    packed: bool,
    ready: bool,
    broken: bool,
    unsignalled: u32,
    /** The used index of a split queue; a packed one's stands in QEMU's layout. */
    lastUsed: u16,
    inFlight: list(struct(inFlight)),
    hasLayout: bool,
    layout: existsIf(
      ["hasLayout"],
      ({ hasLayout }: { hasLayout: boolean }) => hasLayout,
      struct(
        vmstate({
          name: "baton/ring-layout",
          version: 1,
          fields: { size: u32, desc: u64, driver: u64, device: u64 },
        }),
      ),
      { size: 0, desc: 0n, driver: 0n, device: 0n },
    ),
  },
});

/** A queue as {@link ringVmstate} has it. */
export type RingSection = StateOf<typeof ringVmstate>;
