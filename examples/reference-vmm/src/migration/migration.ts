import { BatonError, throwIfAborted } from "@baton/linux";
import {
  type Channel,
  type ChannelListener,
  formatMigrationAddress,
  listenIncoming,
  type MigrationAddress,
  openOutgoing,
  parseMigrationAddress,
  readStream,
  type StreamCapability,
  type StreamProgress,
  writeStream,
} from "@baton/migration";
import type { VmEvent } from "../events.js";
import { type MigrationBlocker, migrationBlockers } from "../machine/vmstate/blockers.js";
import type { VirtualMachine } from "../virtual-machine.js";
import { CapabilitySet, type CapabilityState } from "./capabilities.js";
import { departingSections, expectedSections, joinArriving } from "./guest-sections.js";
import { LatestProgress } from "./progress.js";
import { isUnderWay, type MigrationStatus, MigrationStatusMachine } from "./status.js";

/** What a migration of a VM is told. */
export interface MigrateOptions {
  /** Cancels it. */
  readonly signal?: AbortSignal;
  /** The longest time without a byte moving, in ms; 30 seconds unless given. */
  readonly timeoutMs?: number;
  /** The descriptor that was handed over under a name, for `fd:NAME`. */
  readonly findFd?: (name: string) => number | undefined;
}

/** What the awaiting of a guest is told. */
export interface ReceiveOptions extends MigrateOptions {
  /** Whether a guest that cannot be loaded is the end of the VM, as `wait` tells; it is unless this is false. */
  readonly endOnError?: boolean;
}

/** How a migration fares, or fared. Times in ms. */
export interface MigrationReport {
  readonly status: MigrationStatus;
  readonly direction: "outgoing" | "incoming" | null;
  /** Why it failed. */
  readonly error: BatonError | undefined;
  readonly progress: StreamProgress | undefined;
  readonly totalMs: number;
  /** Until the first byte of the stream. */
  readonly setupMs: number;
  /** How long the guest stood while it was carried away; known when that is over. */
  readonly downtimeMs: number | undefined;
  /** Where a guest is awaited. */
  readonly address: string | undefined;
  readonly blockers: readonly MigrationBlocker[];
}

/** A migration that is under way: its progress can be read, and its end awaited. */
export interface MigrationRun extends AsyncIterable<StreamProgress> {
  /** Rejects with what it failed of, or was cancelled by. */
  readonly finished: Promise<MigrationReport>;
}

/** A guest is waited for as long as it takes. */
const FOR_EVER_MS = 0x7fff_ffff;

type Timing = {
  startedAt: number;
  setupEndedAt: number | undefined;
  stoppedAt: number | undefined;
  endedAt: number | undefined;
};

/** The migrations of one VM: at most one at a time, away from it or to it. */
export class Migration {
  readonly capabilities = new CapabilitySet();
  readonly #vm: VirtualMachine;
  readonly #emit: (event: VmEvent) => void;
  readonly #lost: (error: BatonError) => void;
  readonly #status: MigrationStatusMachine;
  #releaseSignal = () => {};
  #direction: MigrationReport["direction"] = null;
  #abort = new AbortController();
  #progress = new LatestProgress();
  #error: BatonError | undefined;
  #address: string | undefined;
  #timing: Timing = { startedAt: 0, setupEndedAt: undefined, stoppedAt: undefined, endedAt: undefined };
  #run: Promise<MigrationReport> | undefined;

  /** `emit` tells those who listen to the VM, `lost` that a guest will not come. */
  constructor(vm: VirtualMachine, emit: (event: VmEvent) => void, lost: (error: BatonError) => void) {
    this.#vm = vm;
    this.#emit = emit;
    this.#lost = lost;
    this.#status = new MigrationStatusMachine((status) =>
      emit({ type: "migration", status, quiet: !this.capabilities.has("events") }),
    );
  }

  /** Turns capabilities on and off, all or none. Fails with `NOT_BUILT`, and `MIGRATION_STATE` while one is under way. */
  setCapabilities(changes: readonly CapabilityState[]): void {
    this.#checkIdle();
    this.capabilities.set(changes);
  }

  /** How it fares. */
  report(): MigrationReport {
    const { startedAt, setupEndedAt, stoppedAt, endedAt } = this.#timing;
    const now = endedAt ?? performance.now();
    return {
      status: this.#status.status,
      direction: this.#direction,
      error: this.#error,
      progress: this.#progress.latest,
      totalMs: now - startedAt,
      setupMs: (setupEndedAt ?? now) - startedAt,
      downtimeMs: stoppedAt === undefined || endedAt === undefined ? undefined : endedAt - stoppedAt,
      address: this.#address,
      blockers: this.blockers(),
    };
  }

  /** What keeps this VM's guest from being moved. */
  blockers(): MigrationBlocker[] {
    const { config, machine } = this.#vm;
    const others = (config.devices ?? []).filter(({ kind }) => kind !== "virtio");
    return migrationBlockers({ devices: [...others, ...machine.virtio.devices.map(({ description }) => description)] });
  }

  /**
   * Begins to carry the guest away: it is stopped, written to the address as one stream, and then `postmigrate`. After a
   * failure it is what it was before, or `paused` where another side may have it (`VirtualMachine.depart`). Resolves when
   * the way is open; fails with `MIGRATION_STATE`, `MIGRATION_BLOCKED`, `CHANNEL_ADDRESS`, and for what is not a socket
   * also with the error of opening it.
   */
  async start(where: MigrationAddress | string, options: MigrateOptions = {}): Promise<MigrationRun> {
    const address = typeof where === "string" ? parseMigrationAddress(where) : where;
    this.#checkFree();
    this.#checkDeparture(address);
    const limits = this.#begin("outgoing", options);
    const opening = openOutgoing(address, { ...limits, findFd: options.findFd });
    const run = this.#finish(this.#depart(opening, limits, address.kind === "file"));
    // What takes no peer is open at once, or its error is the command's.
    if (address.kind !== "unix" && address.kind !== "tcp") {
      try {
        await opening;
      } catch (error) {
        await run.finished.catch(() => {});
        throw error;
      }
    }
    return run;
  }

  /**
   * Begins to await a guest at the address, in a VM that was made to. Resolves when it could come; fails with
   * `MIGRATION_STATE`, `CHANNEL_ADDRESS`, `CHANNEL_OPEN`, `SOCKET_IN_USE`.
   */
  async receive(where: MigrationAddress | string, options: ReceiveOptions = {}): Promise<MigrationRun> {
    if (this.#vm.runState !== "inmigrate") {
      throw new BatonError("MIGRATION_STATE", "'-incoming' was not specified on the command line");
    }
    if (this.#direction !== null) {
      throw new BatonError("MIGRATION_STATE", "The incoming migration has already been started");
    }
    const limits = this.#begin("incoming", options);
    const listening = listenIncoming(where, { signal: limits.signal, findFd: options.findFd });
    const run = this.#finish(this.#arrive(listening, limits));
    try {
      this.#address = (await listening).address;
    } catch (error) {
      await run.finished.catch(() => {});
      // Nothing has come: it may be tried elsewhere.
      this.#direction = null;
      throw error;
    }
    if (options.endOnError ?? true) run.finished.catch(() => this.#lost(this.#error as BatonError));
    return run;
  }

  /** Ends what is under way, if anything is; resolves when it has ended, as after a failure. */
  async cancel(reason: unknown = new BatonError("MIGRATION_CANCELLED", "The migration was cancelled")): Promise<void> {
    if (!isUnderWay(this.#status.status)) return;
    this.#status.enter("cancelling");
    this.#abort.abort(reason);
    await this.#run?.catch(() => {});
  }

  #checkIdle(): void {
    if (isUnderWay(this.#status.status)) {
      throw new BatonError("MIGRATION_STATE", "There's a migration process in progress");
    }
  }

  #checkFree(): void {
    this.#checkIdle();
    if (this.#vm.runState === "inmigrate") {
      throw new BatonError("MIGRATION_STATE", "Guest is waiting for an incoming migration");
    }
    if (this.#vm.runState === "postmigrate") {
      throw new BatonError("MIGRATION_STATE", "Can't migrate the vm that was paused due to previous migration");
    }
  }

  #checkDeparture(address: MigrationAddress): void {
    const mapped = this.capabilities.has("mapped-ram");
    if (mapped && address.kind !== "file") {
      throw new BatonError("MIGRATION_STATE", "Migration requires seekable transport (e.g. file)");
    }
    if (!mapped && address.kind === "file" && address.offset === undefined) {
      throw new BatonError(
        "NOT_BUILT",
        `Snapshot directories, which ${formatMigrationAddress(address)} asks for, are not built yet`,
        {
          hint: "Add ',offset=0' for a file with one stream",
        },
      );
    }
    const [blocker] = this.blockers();
    if (blocker !== undefined) {
      throw new BatonError("MIGRATION_BLOCKED", `Device '${blocker.device}' cannot be migrated: ${blocker.reason}`, {
        details: { blockers: this.blockers() },
      });
    }
  }

  #begin(direction: "outgoing" | "incoming", { signal, timeoutMs }: MigrateOptions) {
    throwIfAborted(signal);
    this.#direction = direction;
    this.#abort = new AbortController();
    this.#progress = new LatestProgress();
    this.#error = undefined;
    this.#timing = { startedAt: performance.now(), setupEndedAt: undefined, stoppedAt: undefined, endedAt: undefined };
    this.#status.enter("setup");
    const onAbort = () => void this.cancel(signal?.reason);
    signal?.addEventListener("abort", onAbort);
    this.#releaseSignal = () => signal?.removeEventListener("abort", onAbort);
    return { signal: this.#abort.signal, ...(timeoutMs !== undefined && { timeoutMs }) };
  }

  /** Follows the work to its end. */
  #finish(work: Promise<void>): MigrationRun {
    const progress = this.#progress;
    const finished = work.then(
      () => this.#end("completed"),
      (reason: unknown) => {
        const error = BatonError.from(reason, "MIGRATION_FAILED");
        this.#error = error;
        const cancelled = this.#status.status === "cancelling";
        this.#end(cancelled ? "cancelled" : "failed");
        throw cancelled ? reason : error;
      },
    );
    // Whoever is not interested need not look.
    finished.catch(() => {});
    this.#run = finished;
    return { finished, [Symbol.asyncIterator]: () => progress[Symbol.asyncIterator]() };
  }

  #end(status: "completed" | "cancelled" | "failed"): MigrationReport {
    this.#releaseSignal();
    this.#timing.endedAt = performance.now();
    this.#status.enter(status);
    this.#progress.end();
    return this.report();
  }

  /** `isFile`: what was written is nobody's before its proper end. */
  async #depart(opening: Promise<Channel>, limits: { signal: AbortSignal }, isFile: boolean): Promise<void> {
    const channel = await opening;
    try {
      await this.#vm.depart(async (guest) => {
        this.#timing.stoppedAt = guest.stoppedAt;
        this.#timing.setupEndedAt = guest.stoppedAt;
        this.#emit({ type: "migration-pass", pass: 1, quiet: !this.capabilities.has("events") });
        this.#enterUnlessCancelled("active");
        const sections = departingSections(guest, this.#vm.machine.inventory);
        await writeStream(channel, { ...this.#stream(), sections }, { ...limits, onProgress: this.#onProgress });
        if (!isFile) guest.sent();
        this.#enterUnlessCancelled("device");
        await channel.end(limits);
      }, limits);
    } finally {
      await channel.close();
    }
  }

  async #arrive(listening: Promise<ChannelListener>, limits: { signal: AbortSignal }): Promise<void> {
    const listener = await listening;
    let channel: Channel;
    try {
      channel = await listener.accept({ signal: limits.signal, timeoutMs: FOR_EVER_MS });
    } finally {
      await listener.close();
    }
    try {
      await this.#vm.arrive(async () => {
        this.#timing.setupEndedAt = performance.now();
        this.#enterUnlessCancelled("active");
        const { inventory } = this.#vm.machine;
        const contents = { ...this.#stream(), sections: expectedSections(inventory) };
        const { sections } = await readStream(channel, contents, { ...limits, onProgress: this.#onProgress });
        return joinArriving(sections, inventory);
      }, limits);
    } finally {
      await channel.close();
    }
  }

  /** What both sides say of the stream. */
  #stream() {
    const { block, inventory } = this.#vm.machine;
    const capabilities: StreamCapability[] = this.capabilities.has("mapped-ram") ? ["mapped-ram"] : [];
    return { machineType: inventory.machine, capabilities, ram: [{ block }] };
  }

  readonly #onProgress = (progress: StreamProgress) => this.#progress.publish(progress);

  #enterUnlessCancelled(status: MigrationStatus): void {
    if (this.#status.status !== "cancelling") this.#status.enter(status);
  }
}
