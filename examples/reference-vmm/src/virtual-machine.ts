import {
  type DeviceEvent,
  describeExit,
  type PauseOptions,
  type StopPoint,
  setIrqLine,
  type VcpuExit,
} from "@baton/core-kvm";
import type { VirtioDeviceDescription, VirtioEvent } from "@baton/devices-virtio";
import { BatonError, throwIfAborted } from "@baton/linux";
import { Backends } from "./backend/backends.js";
import { ConsolePort } from "./backend/chardev/console.js";
import type { SerialDevice, VmConfig } from "./config.js";
import { type ShutdownCause, type TimedVmEvent, type VmEvent, VmEvents } from "./events.js";
import type { PlugOptions } from "./machine/hotplug-slots.js";
import { type ClockMode, Machine } from "./machine/machine.js";
import type { MachineState } from "./machine/state.js";
import { Migration } from "./migration/migration.js";
import { pressPowerButton } from "./platform/acpi-ged.js";
import { isPluggable, needsReset, type RunState, RunStateMachine } from "./run-state.js";
import { virtioVmEvent } from "./virtio-event.js";

/** How a VM came to its end. */
export interface VmOutcome {
  readonly reason: "shutdown" | "debug-exit" | "panic" | "internal-error" | "closed";
  readonly cause?: ShutdownCause;
  /** What the guest asked for through the debug-exit port. */
  readonly exitCode?: number;
  readonly error?: BatonError;
}

/** A state to go on from, instead of booting. */
export interface IncomingState {
  readonly state: MachineState;
  readonly clock?: ClockMode;
  /** The run state to begin in: `paused` unless said otherwise. */
  readonly runState?: RunState;
}

/** A stopped guest on its way to another machine. */
export interface DepartingGuest {
  readonly state: MachineState;
  /** What it was in when it was stopped: the other side goes on from there. */
  readonly runState: RunState;
}

/** A guest that is about to go, and what is known of its going. */
export interface Departure extends DepartingGuest {
  /** When it was stopped, as `performance.now()` tells it. */
  readonly stoppedAt: number;
  /** To be called when another side may have all of it: after a failure the guest does not run on by itself any more. */
  readonly sent: () => void;
}

/** A guest that has come from another machine; its RAM is in place. */
export interface ArrivingGuest extends DepartingGuest {
  readonly clock?: ClockMode;
}

/**
 * A virtual machine: made by `createVm`, driven by these methods, observed through its events. All changes are carried
 * out one after the other, in the order in which they were asked for.
 */
export class VirtualMachine {
  readonly config: VmConfig;
  /** What surfaces keep for devices that are to be plugged in. */
  readonly backends = new Backends();
  /** Moves of the guest, away from this VM or to it. */
  readonly migration: Migration;
  readonly #events = new VmEvents();
  readonly #run: RunStateMachine;
  readonly #machine: Machine;
  readonly #console: ConsolePort | undefined;
  readonly #outcome: Promise<VmOutcome>;
  #settle: (outcome: VmOutcome) => void = () => {};
  #last: Promise<unknown> = Promise.resolve();
  #resetRequested = false;
  /** How much of what the guest or a device asks for has not begun. */
  #waitingInBackground = 0;
  /** Whether a guest that arrives runs if it ran before. */
  #autostart = true;
  #closing: Promise<void> | undefined;

  private constructor(config: VmConfig, machine: Machine, console: ConsolePort | undefined, initial: RunState) {
    this.config = config;
    this.#machine = machine;
    this.#console = console;
    this.#run = new RunStateMachine(initial, (from, to) => this.#events.emit({ type: "run-state", from, to }));
    this.#outcome = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.migration = new Migration(
      this,
      (event) => this.#events.emit(event),
      (error) => this.#settle({ reason: "internal-error", error }),
    );
    for (const thread of machine.vcpus.threads) {
      thread.on("exit", (exit) => this.#onExit(exit));
      thread.on("device", (event) => this.#onDevice(event));
      thread.on("failed", (error) => this.#background(() => this.#internalError(error)));
    }
    machine.listeners.onFailed = (error) => this.#background(() => this.#internalError(error));
    machine.listeners.onVirtioEvent = (device, event) => this.#onVirtioEvent(device, event);
  }

  /** Makes a VM that has not run yet. Users call `createVm`. */
  static async create(
    config: VmConfig,
    options: { readonly signal?: AbortSignal; readonly incoming?: IncomingState | "later" } = {},
  ): Promise<VirtualMachine> {
    throwIfAborted(options.signal);
    const serial = config.devices?.filter((device): device is SerialDevice => device.kind === "serial") ?? [];
    if (serial.length > 1) throw new BatonError("DEVICE_LIMIT", "The microvm machine has one serial port");
    const port = serial[0] === undefined ? undefined : ConsolePort.open(serial[0], config.openOrFind);
    try {
      const { incoming, signal } = options;
      const machine = await Machine.create({
        config,
        uart: port?.uart ?? null,
        ...(signal && { signal }),
        ...(incoming === "later" && { state: incoming }),
        ...(typeof incoming === "object" && { state: incoming.state, clock: incoming.clock ?? "advance" }),
      });
      try {
        await port?.attach(machine);
      } catch (error) {
        await machine.close();
        throw error;
      }
      const restored = typeof incoming === "object" ? (incoming.runState ?? "paused") : "prelaunch";
      return new VirtualMachine(config, machine, port, incoming === "later" ? "inmigrate" : restored);
    } catch (error) {
      await port?.close();
      throw error;
    }
  }

  /** The run state. */
  get runState(): RunState {
    return this.#run.state;
  }

  /** The machine inside, for those who build surfaces and devices. */
  get machine(): Machine {
    return this.#machine;
  }

  /** The path of the serial port's pseudo-terminal, where it has one. */
  get consolePath(): string | undefined {
    return this.#console?.path;
  }

  /** The serial port's character device: its name and what it stands on, in QEMU's words. */
  get serialChardev(): { readonly label: string; readonly filename: string } | undefined {
    return this.#console && { label: this.#console.label, filename: this.#console.filename };
  }

  /** The events from now on, until the VM is closed or `signal` aborts. */
  events(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<TimedVmEvent, void, undefined> {
    return this.#events.stream(options);
  }

  /** Calls `listener` at each event, before the operation that caused it resolves; returns the end of it. */
  onEvent(listener: (event: TimedVmEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  /** Runs the guest for the first time, or again after {@link pause}. */
  async start(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.resume(options);
  }

  /**
   * Lets the guest run on; does nothing while it runs, and has one that is awaited run when it has come. Errors:
   * `RESET_REQUIRED` after a crash or shutdown, `MIGRATION_STATE` while it is being moved, `IMAGE_LOCKED` where another
   * VM has a disk by now.
   */
  async resume(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#run.state === "inmigrate") {
      this.#autostart = true;
      return;
    }
    if (this.#run.state === "finish-migrate") throw new BatonError("MIGRATION_STATE", "Migration is not finalized yet");
    return this.#serialised(options.signal, async () => {
      if (this.#run.state === "running") return;
      if (needsReset(this.#run.state)) {
        throw new BatonError("RESET_REQUIRED", "Resetting the Virtual Machine is required", {
          details: { state: this.#run.state },
        });
      }
      await this.#enterRunning();
    });
  }

  /**
   * Stops all vCPUs. Does nothing unless the guest runs. Fails with `PAUSE_TIMEOUT` where the embedder's own device does
   * not answer an access in time; the guest then runs on.
   */
  async pause(options: PauseOptions = {}): Promise<void> {
    if (this.#run.state === "inmigrate") {
      this.#autostart = false;
      return;
    }
    return this.#serialised(options.signal, async () => {
      if (this.#run.state !== "running") return;
      await this.#halt(options);
      for (const vcpu of this.#machine.vm.vcpus) vcpu.notifyPaused();
      this.#run.enter("paused");
      this.#events.emit({ type: "stop" });
    });
  }

  /**
   * Has `work` look at vCPUs and memory while no vCPU runs. A guest that runs is held for just that long, of which neither
   * run state nor events tell. Fails as {@link pause} does.
   */
  inspect<T>(work: () => T, options: PauseOptions = {}): Promise<T> {
    return this.#serialised(options.signal, async () => {
      if (this.#run.state !== "running") return work();
      await this.#machine.vcpus.pause(options);
      try {
        return work();
      } finally {
        // A vCPU that has stopped itself, as for a power-off, goes on by what waits, if at all.
        if (this.#waitingInBackground === 0) this.#machine.vcpus.resume();
      }
    });
  }

  /**
   * Resets the machine; it runs on if it ran before. One that had crashed or shut down is then `prelaunch`, and waits. Fails
   * with `MIGRATION_STATE` while a guest is awaited.
   */
  reset(reason: ShutdownCause = "host-qmp-system-reset"): Promise<void> {
    return this.#serialised(undefined, async () => {
      if (this.#run.state === "inmigrate") {
        throw new BatonError("MIGRATION_STATE", "A guest is awaited: there is none to be reset");
      }
      await this.#reset(false, reason);
    });
  }

  /** Presses the power button; what the guest makes of it is its own affair. */
  powerdown(): Promise<void> {
    return this.#serialised(undefined, async () => {
      const { platform, vm } = this.#machine;
      pressPowerButton(platform.ged, (gsi, level) => setIrqLine(vm.fd.raw, gsi, level));
      this.#events.emit({ type: "powerdown" });
    });
  }

  /** Ends the guest from outside, as a pulled plug; the VM stays open for inspection until {@link close}. */
  shutdown(reason: ShutdownCause): Promise<void> {
    void this.migration.cancel(new BatonError("MIGRATION_CANCELLED", "The VM was shut down while its guest was moved"));
    return this.#serialised(undefined, () => this.#shutdown(false, reason, { reason: "shutdown", cause: reason }));
  }

  /**
   * Plugs a disk or a network card into one of the slots that `slots` of the configuration gave the machine; the guest
   * is told at once. Errors (by `code`), after which all is as before: those of the device, `DUPLICATE_ID`, `SLOT_TAKEN`,
   * `SLOT_LIMIT`, `SLOT_BUSY`, `DEVICE_FIXED` for other kinds of devices, `DEVICE_SHAPE` where the guest was promised
   * what the device does not keep, `IOTHREAD_UNKNOWN`, `IOTHREAD_SLOT` where another thread serves the slot, `PLUG_STATE` where the run state does not allow it, `TIMEOUT`.
   */
  attach(device: VirtioDeviceDescription, options: PlugOptions = {}): Promise<void> {
    return this.#serialised(options.signal, async () => {
      this.#checkPluggable(device.id, "plugged in");
      await this.#machine.virtio.hotplug.plug(device, options);
    });
  }

  /**
   * Plugs a device out of its slot; what the guest asks of it from then on fails. The event `device-deleted` comes before
   * the promise resolves. Errors (by `code`): `DEVICE_NOT_FOUND`, `DEVICE_FIXED` for a device beside the slots,
   * `ROOT_DISK`, `SLOT_BUSY`, `PLUG_STATE`, `TIMEOUT`.
   */
  detach(id: string, options: Omit<PlugOptions, "slot"> = {}): Promise<void> {
    return this.#serialised(options.signal, async () => {
      this.#checkPluggable(id, "unplugged");
      await this.#machine.virtio.hotplug.unplug(id, options, () =>
        this.#events.emit({ type: "device-deleted", device: id, path: id }),
      );
    });
  }

  /** Resolves when the guest has ended: by shutdown, debug exit, a panic or an error that stopped it, or by {@link close}. */
  async wait(options: { readonly signal?: AbortSignal } = {}): Promise<VmOutcome> {
    throwIfAborted(options.signal);
    if (options.signal === undefined) return this.#outcome;
    const { signal } = options;
    let onAbort = () => {};
    try {
      return await Promise.race([
        this.#outcome,
        new Promise<never>((_, reject) => {
          onAbort = () => reject(signal.reason);
          signal.addEventListener("abort", onAbort, { once: true });
        }),
      ]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Where the last pause found each vCPU. */
  get stopPoints(): readonly StopPoint[] {
    return this.#machine.vcpus.threads.map((thread) => thread.stopPoint);
  }

  /** The state of the paused machine as plain objects; RAM is not in it. Fails with `VM_RUNNING` while it runs. */
  saveState(): Promise<MachineState> {
    return this.#serialised(undefined, async () => {
      if (this.#run.state === "running")
        throw new BatonError("VM_RUNNING", "The state of a running VM cannot be read: pause it first");
      return this.#machine.saveState();
    });
  }

  /**
   * Stops the guest and has `work` carry it away: its state, while all of RAM lies still. Then it is `postmigrate`, and
   * its disks are for the other side; {@link resume} takes them back. Where `work` fails or is aborted, the guest is
   * what it was before; but it stays `paused` once it was {@link Departure.sent}, as it may run elsewhere.
   * Errors: `MIGRATION_STATE`, `PAUSE_TIMEOUT`, those of `work`.
   */
  depart<T>(work: (guest: Departure) => Promise<T>, options: { readonly signal?: AbortSignal } = {}): Promise<T> {
    const { signal } = options;
    return this.#serialised(signal, async () => {
      const before = this.#run.state;
      if (before === "postmigrate") {
        throw new BatonError("MIGRATION_STATE", "Can't migrate the vm that was paused due to previous migration");
      }
      if (!this.#run.allows("finish-migrate")) {
        throw new BatonError("MIGRATION_STATE", `A VM that is '${before}' cannot be migrated`);
      }
      if (before === "running") {
        await this.#halt(signal === undefined ? {} : { signal });
        for (const vcpu of this.#machine.vm.vcpus) vcpu.notifyPaused();
      }
      const stoppedAt = performance.now();
      this.#run.enter("finish-migrate");
      if (before === "running") this.#events.emit({ type: "stop" });
      let after = before;
      const sent = () => {
        if (before === "running") after = "paused";
      };
      try {
        const state = await this.#machine.saveState();
        this.#machine.virtio.inactivate();
        const result = await work({ state, runState: before, stoppedAt, sent });
        this.#run.enter("postmigrate");
        return result;
      } catch (error) {
        await this.#stay(after);
        throw error;
      }
    });
  }

  /**
   * Has `work` bring a guest, whose RAM it fills, to a VM that was made to await one. The guest runs if it ran before, but
   * for a {@link pause} meanwhile. After an error the VM is of no more use.
   */
  arrive(work: () => Promise<ArrivingGuest>, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#serialised(options.signal, async () => {
      if (this.#run.state !== "inmigrate") throw new BatonError("MIGRATION_STATE", "This VM awaits no guest");
      const { state, runState, clock } = await work();
      await this.#machine.load(state, clock);
      // The time in between is none in which it was stuck.
      for (const vcpu of this.#machine.vm.vcpus) vcpu.notifyPaused();
      if (runState === "running" && this.#autostart) await this.#enterRunning();
      else this.#run.enter(runState === "running" || !this.#run.allows(runState) ? "paused" : runState);
    });
  }

  /**
   * Ends the guest and gives everything back. May be called again. With `handedOver`, another VM goes on with the state
   * of this one: what that has is left alone (sockets stay in the file system, connections and locks stay).
   */
  close(options: { readonly handedOver?: boolean } = {}): Promise<void> {
    const moving = this.migration.cancel(new BatonError("VM_CLOSED", "The VM has been closed"));
    this.#closing ??= (async () => {
      await moving;
      await this.#last.catch(() => {});
      await this.#machine.vcpus.close();
      await this.#console?.close();
      await this.#machine.close(options.handedOver ?? false);
      this.backends.close();
      this.#settle({ reason: "closed" });
      this.#events.end();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkPluggable(id: string, what: string): void {
    const { state } = this.#run;
    if (isPluggable(state)) return;
    throw new BatonError("PLUG_STATE", `Device '${id}' cannot be ${what} while the VM is '${state}'`, {
      details: { device: id, state },
    });
  }

  /** Stops all vCPUs and lets the console have what they have sent. */
  async #halt(options: PauseOptions = {}): Promise<void> {
    await this.#machine.vcpus.pause(options);
    await this.#console?.flush();
  }

  async #enterRunning(): Promise<void> {
    this.#machine.virtio.activate();
    this.#run.enter("running");
    this.#events.emit({ type: "resume" });
    await this.#machine.resume();
  }

  /** What becomes of a guest whose move failed: `paused` where it should run and cannot because of its disks. */
  async #stay(after: RunState): Promise<void> {
    if (after !== "running") {
      this.#run.enter(after);
      return;
    }
    try {
      await this.#enterRunning();
    } catch {
      this.#run.enter("paused");
    }
  }

  #serialised<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const next = this.#last
      .catch(() => {})
      .then(() => {
        throwIfAborted(signal);
        if (this.#closing !== undefined) throw new BatonError("VM_CLOSED", "The VM has been closed");
        return work();
      });
    this.#last = next;
    return next;
  }

  /** Work that nobody waits for; an error in it stops the VM. */
  #background(work: () => Promise<void>): void {
    this.#waitingInBackground++;
    const begun = () => {
      this.#waitingInBackground--;
      return work();
    };
    this.#serialised(undefined, begun).catch((error: unknown) => {
      if (BatonError.is(error, "VM_CLOSED") || this.#run.state === "internal-error") return;
      this.#fault(BatonError.from(error, "INTERNAL_ERROR"));
    });
  }

  /** The guest asks for a reset; vCPUs that ask for the same one are answered together. */
  #requestReset(): void {
    if (this.#resetRequested) return;
    this.#resetRequested = true;
    this.#background(async () => {
      try {
        await this.#guestReset();
      } finally {
        this.#resetRequested = false;
      }
    });
  }

  #onExit(exit: VcpuExit): void {
    if (exit.reason === "shutdown" || exit.reason === "system-event") this.#requestReset();
    else {
      const error = new BatonError("GUEST_EXIT", `The guest cannot go on: ${describeExit(exit)}`, {
        details: { exit },
      });
      this.#background(() => this.#internalError(error));
    }
  }

  #onDevice(event: DeviceEvent): void {
    if (event.name === "reset") this.#requestReset();
    else if (event.name === "poweroff") {
      this.#background(() => this.#shutdown(true, "guest-shutdown", { reason: "shutdown", cause: "guest-shutdown" }));
    } else if (event.name === "panicked") this.#background(() => this.#panic());
    else if (event.name === "exit") {
      const exitCode = event.data as number;
      this.#background(() =>
        this.#shutdown(true, "guest-shutdown", { reason: "debug-exit", cause: "guest-shutdown", exitCode }),
      );
    }
  }

  #onVirtioEvent(device: string, reported: VirtioEvent): void {
    const event = virtioVmEvent(device, reported);
    this.#events.emit(event);
    if (event.type === "block-io-error" && event.action === "stop") {
      this.#background(async () => {
        if (this.#run.state !== "running") return;
        await this.#halt();
        this.#run.enter("io-error");
        this.#events.emit({ type: "stop" });
      });
    }
  }

  async #guestReset(): Promise<void> {
    if (this.config.policy?.onReset === "shutdown") {
      await this.#shutdown(true, "guest-reset", { reason: "shutdown", cause: "guest-reset" });
    } else await this.#reset(true, "guest-reset");
  }

  async #reset(guest: boolean, reason: ShutdownCause): Promise<void> {
    const before = this.#run.state;
    await this.#halt();
    try {
      await this.#machine.reset();
    } catch (error) {
      this.#fault(BatonError.from(error, "MACHINE_RESET"));
      throw error;
    }
    this.#events.emit({ type: "reset", guest, reason });
    if (before === "running") await this.#machine.resume();
    else if (needsReset(before)) this.#run.enter("prelaunch");
  }

  async #shutdown(guest: boolean, reason: ShutdownCause, outcome: VmOutcome): Promise<void> {
    const keeps = this.config.policy?.onShutdown === "pause";
    if (this.#run.state === "shutdown" && (guest || !keeps)) return;
    const wasRunning = this.#run.state === "running";
    await this.#halt();
    this.#events.emit({ type: "shutdown", guest, reason });
    // Who ends the guest from outside means it.
    if (guest && wasRunning && keeps) {
      this.#run.enter("shutdown");
      this.#events.emit({ type: "stop" });
      return;
    }
    if (this.#run.allows("shutdown")) this.#run.enter("shutdown");
    this.#settle(outcome);
  }

  async #panic(): Promise<void> {
    const policy = this.config.policy?.onPanic ?? "pause";
    const action = policy === "shutdown" ? "poweroff" : policy;
    await this.#halt();
    this.#events.emit({ type: "guest-panicked", action });
    if (policy === "run") await this.#machine.resume();
    else if (policy === "reset") await this.#reset(true, "guest-panic");
    else if (policy === "shutdown")
      await this.#shutdown(true, "guest-panic", { reason: "panic", cause: "guest-panic" });
    else {
      this.#run.enter("guest-panicked");
      this.#events.emit({ type: "stop" });
      this.#settle({ reason: "panic", cause: "guest-panic" });
    }
  }

  async #internalError(error: BatonError): Promise<void> {
    if (this.#run.state !== "running") return;
    await this.#halt();
    this.#fault(error);
  }

  /** What the VM is in when it cannot go on. */
  #fault(error: BatonError): void {
    if (this.#run.allows("internal-error")) this.#run.enter("internal-error");
    this.#events.emit({ type: "internal-error", error });
    this.#events.emit({ type: "stop" });
    this.#settle({ reason: "internal-error", error });
  }
}

export type { VmEvent };
