import { BatonError } from "@baton/linux";

/** What a migration can be told to do, by QEMU's names (QAPI `MigrationCapability`), and whether Baton does it. */
const capabilities = {
  xbzrle: false,
  "rdma-pin-all": false,
  "auto-converge": false,
  "zero-blocks": false,
  events: true,
  "postcopy-ram": false,
  "x-colo": false,
  "release-ram": false,
  "return-path": false,
  "pause-before-switchover": false,
  multifd: false,
  "dirty-bitmaps": false,
  "postcopy-blocktime": false,
  "late-block-activate": false,
  "x-ignore-shared": false,
  "validate-uuid": false,
  "background-snapshot": false,
  "zero-copy-send": false,
  "postcopy-preempt": false,
  "switchover-ack": false,
  "dirty-limit": false,
  "mapped-ram": true,
} as const;

/** The name of a capability. */
export type MigrationCapability = keyof typeof capabilities;

/** All names, in QEMU's order. */
export const MIGRATION_CAPABILITIES = Object.keys(capabilities) as readonly MigrationCapability[];

/** A capability that is to be on or off. */
export interface CapabilityState {
  readonly capability: MigrationCapability;
  readonly state: boolean;
}

/** Which capabilities are on. */
export class CapabilitySet {
  readonly #on = new Set<MigrationCapability>();

  has(capability: MigrationCapability): boolean {
    return this.#on.has(capability);
  }

  /** All of them, in QEMU's order. */
  list(): CapabilityState[] {
    return MIGRATION_CAPABILITIES.map((capability) => ({ capability, state: this.#on.has(capability) }));
  }

  /** Changes all that are named, or none. Throws `NOT_BUILT` for one to be turned on that Baton does not have. */
  set(changes: readonly CapabilityState[]): void {
    for (const { capability, state } of changes) {
      if (!state || capabilities[capability]) continue;
      throw new BatonError("NOT_BUILT", `Migration capability '${capability}' is not built yet`, {
        hint: "events and mapped-ram are",
      });
    }
    for (const { capability, state } of changes) {
      if (state) this.#on.add(capability);
      else this.#on.delete(capability);
    }
  }
}
