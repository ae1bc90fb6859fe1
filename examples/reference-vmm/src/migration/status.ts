import { BatonError } from "@baton/linux";

/** How far a migration is, by QEMU's names (QAPI `MigrationStatus`). */
export type MigrationStatus =
  | "none"
  | "setup"
  | "active"
  | "device"
  | "completed"
  | "failed"
  | "cancelling"
  | "cancelled";

/** From each status, those that may follow. */
const transitions: Readonly<Record<MigrationStatus, readonly MigrationStatus[]>> = {
  none: ["setup"],
  setup: ["active", "failed", "cancelling"],
  active: ["device", "completed", "failed", "cancelling"],
  device: ["completed", "failed", "cancelling"],
  completed: ["setup"],
  failed: ["setup"],
  // What was already over when it was to be cancelled, is over.
  cancelling: ["cancelled", "failed", "completed"],
  cancelled: ["setup"],
};

/** Whether something is under way. */
export function isUnderWay(status: MigrationStatus): boolean {
  return status === "setup" || status === "active" || status === "device" || status === "cancelling";
}

/** The one place where a migration's status changes. */
export class MigrationStatusMachine {
  #status: MigrationStatus = "none";
  readonly #onChange: (status: MigrationStatus) => void;

  constructor(onChange: (status: MigrationStatus) => void) {
    this.#onChange = onChange;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  /** Fails with `MIGRATION_STATUS`, naming both, where that is not allowed. */
  enter(next: MigrationStatus): void {
    if (next === this.#status) return;
    if (!transitions[this.#status].includes(next)) {
      throw new BatonError("MIGRATION_STATUS", `A migration that is '${this.#status}' cannot become '${next}'`);
    }
    this.#status = next;
    this.#onChange(next);
  }
}
