import { BatonError } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { VirtioDevice } from "../device/device.js";
import { hasBit, VIRTIO_F_VERSION_1 } from "../device/features.js";
import { deviceStateError, type QueueRegisters, StateReader, type VirtioState } from "../device/state.js";
import {
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
} from "../device/status.js";
import { createQueue } from "../queue/create.js";
import { QueueError } from "../queue/errors.js";
import type { QueueState, VirtQueue } from "../queue/queue.js";

/** A queue as the driver writes about it, before it is in use. */
export type MutableQueueRegisters = { -readonly [K in keyof QueueRegisters]: QueueRegisters[K] };

/** What the half of a transport that all share needs of the rest of it. */
export interface CoreHooks {
  /** Raises the configuration interrupt. */
  configInterrupt(): void;
  /** The driver has broken the rules; `error` says how. */
  broken(error: QueueError): void;
  /** The queues are in use, or no longer. */
  activated(queues: readonly VirtQueue[]): void;
  deactivated(): void;
}

/** What every transport has: status, features, queues, and the way from reset to DRIVER_OK and back (virtio 1.2, 2 and 3). */
export class VirtioCore {
  /** Everything that is offered: settled from the driver's first word on until its next reset. */
  #offered: bigint;
  accepted = 0n;
  configGeneration = 0;
  readonly registers: MutableQueueRegisters[];
  /** Empty until DRIVER_OK. */
  queues: readonly VirtQueue[] = [];
  readonly #memory: GuestMemory;
  readonly #hooks: CoreHooks;
  #name: string;
  #device: VirtioDevice;
  /** What the transport adds to the device's features. */
  #transport: bigint;
  #status = 0;

  constructor(name: string, device: VirtioDevice, memory: GuestMemory, transportFeatures: bigint, hooks: CoreHooks) {
    this.#name = name;
    this.#device = device;
    this.#transport = transportFeatures;
    this.#memory = memory;
    this.#hooks = hooks;
    this.#offered = device.features | transportFeatures;
    this.registers = device.queueSizes.map(freshRegisters);
  }

  get device(): VirtioDevice {
    return this.#device;
  }

  get offered(): bigint {
    return this.#offered;
  }

  get status(): number {
    return this.#status;
  }

  /** Whether the device is in use, and sound. */
  get live(): boolean {
    return this.queues.length > 0 && (this.#status & STATUS_NEEDS_RESET) === 0;
  }

  /** The driver writes the status: 0 resets; bits are only ever added, in their order (3.1.1). */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const { device } = this;
    let next = this.#status | (value & 0xbf);
    if (next & STATUS_FEATURES_OK && !(this.#status & STATUS_FEATURES_OK) && !this.#acceptable()) {
      next &= ~STATUS_FEATURES_OK;
    }
    const begins = (next & STATUS_DRIVER_OK) !== 0 && (this.#status & STATUS_DRIVER_OK) === 0;
    const before = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
    if (begins && (next & before) !== before) next &= ~STATUS_DRIVER_OK;
    this.#status = next;
    if (begins && next & STATUS_DRIVER_OK) {
      this.guard(() => {
        this.#makeQueues();
        this.registers.forEach((registers, i) => {
          if (registers.enabled) this.queues[i]?.configure(registers);
        });
        device.start({ features: this.accepted, queues: this.queues });
        this.#hooks.activated(this.queues);
      });
    }
  }

  /** The driver writes features: ignored once they are settled (2.2.1). */
  accept(bits: bigint): void {
    if ((this.#status & STATUS_FEATURES_OK) === 0) this.accepted = bits;
  }

  /** Whether what the driver writes about queues still counts. */
  get configurable(): boolean {
    return (this.#status & STATUS_DRIVER_OK) === 0;
  }

  /**
   * Puts another device in the place of this one, whose I/O is ended and which is closed: the driver goes on with it,
   * and knows only what the configuration space says. Fails with `DEVICE_SHAPE` where the driver was promised what the
   * other does not keep; everything is then as it was. The caller resumes it.
   */
  replace(next: VirtioDevice, { name, transportFeatures }: { name: string; transportFeatures: bigint }): void {
    const former = this.#device;
    this.#checkShape(next, name, transportFeatures);
    const { live } = this;
    this.guard(() => former.quiesce());
    try {
      next.load(next.succeed?.(former.save()));
    } catch (error) {
      this.guard(() => former.resume());
      throw error;
    }
    this.guard(() => former.abandon?.());
    this.#device = next;
    this.#name = name;
    this.#transport = transportFeatures;
    if (this.#status === 0) this.#offered = next.features | transportFeatures;
    if (live && this.live) next.start({ features: this.accepted, queues: this.queues });
    former.close(false);
  }

  #checkShape(next: VirtioDevice, name: string, transportFeatures: bigint): void {
    const refuse = (problem: string): BatonError => new BatonError("DEVICE_SHAPE", `${name}: ${problem}`);
    const { deviceId, queueSizes } = this.#device;
    if (next.deviceId !== deviceId || next.succeed === undefined) {
      throw refuse(`a device of type ${next.deviceId} cannot take the place of one of type ${deviceId}`);
    }
    if (next.queueSizes.join() !== queueSizes.join()) {
      throw refuse(`it has queues of [${next.queueSizes.join(", ")}], its place has [${queueSizes.join(", ")}]`);
    }
    const missing = this.#offered & ~(next.features | (next.tolerated ?? 0n) | transportFeatures);
    if (this.#status !== 0 && missing !== 0n) {
      throw refuse(`the guest was offered features that it does not have: 0x${missing.toString(16)}`);
    }
  }

  reset(): void {
    this.#hooks.deactivated();
    this.device.reset();
    for (const queue of this.queues) queue.reset();
    this.queues = [];
    this.#status = 0;
    this.accepted = 0n;
    this.#offered = this.#device.features | this.#transport;
    this.device.queueSizes.forEach((size, i) => {
      this.registers[i] = freshRegisters(size);
    });
  }

  needsReset(error: unknown): void {
    if ((this.#status & STATUS_NEEDS_RESET) !== 0) return;
    this.#status |= STATUS_NEEDS_RESET;
    this.#hooks.deactivated();
    if (error instanceof QueueError) this.#hooks.broken(error);
    if ((this.#status & STATUS_DRIVER_OK) !== 0) this.#hooks.configInterrupt();
  }

  /** Runs the device's code; a rule that the driver broke makes the device need a reset. */
  guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.needsReset(error);
    }
  }

  save(interruptStatus: number, transport: unknown): VirtioState {
    return {
      deviceId: this.device.deviceId,
      status: this.#status,
      offered: this.offered,
      accepted: this.accepted,
      configGeneration: this.configGeneration,
      interruptStatus,
      queues: this.registers.map((registers, i) => ({
        registers: { ...registers },
        ring: this.queues[i]?.save() ?? null,
      })),
      transport,
      device: this.device.save(),
    };
  }

  /** Takes a saved state. Has no effect on the guest; throws `DEVICE_STATE` or `VIRTQUEUE_STATE`, and is then reset. */
  load(state: unknown): { readonly interruptStatus: number; readonly transport: unknown } {
    this.reset();
    try {
      return this.#load(new StateReader(this.#name, state));
    } catch (error) {
      this.reset();
      throw error;
    }
  }

  #load(reader: StateReader): { interruptStatus: number; transport: unknown } {
    const deviceId = reader.integer("deviceId", 0, 0xffff);
    if (deviceId !== this.device.deviceId) {
      throw reader.error("deviceId", `the state is one of device type ${deviceId}, not ${this.device.deviceId}`);
    }
    const status = reader.integer("status", 0, 0xff);
    const accepted = reader.bits("accepted");
    // In a place where devices are replaced, the driver may have been offered what another has.
    const tolerated = this.#device.tolerated ?? 0n;
    if (status !== 0) this.#offered |= reader.bits("offered") & tolerated;
    if ((status & STATUS_FEATURES_OK) !== 0 && (accepted & ~this.offered) !== 0n) {
      const missing = (accepted & ~this.offered).toString(16);
      throw reader.error("accepted", `the guest uses features that this device does not offer: 0x${missing}`);
    }
    this.configGeneration = reader.integer("configGeneration", 0, 0xffff_ffff);
    const interruptStatus = reader.integer("interruptStatus", 0, 3);
    const queues = reader.list("queues", 1024, (queue, path) => this.#readQueue(queue, path));
    if (queues.length !== this.registers.length) {
      throw reader.error("queues", `there are ${queues.length}, this device has ${this.registers.length}`);
    }
    this.accepted = accepted;
    this.#status = status;
    queues.forEach(({ registers }, i) => {
      this.registers[i] = registers;
    });
    this.device.load(reader.raw("device"));
    if ((status & STATUS_DRIVER_OK) !== 0) {
      this.#makeQueues();
      queues.forEach(({ ring }, i) => {
        if (ring !== null) this.queues[i]?.load(ring);
      });
      this.device.start({ features: accepted, queues: this.queues });
      if ((status & STATUS_NEEDS_RESET) === 0) this.#hooks.activated(this.queues);
    }
    return { interruptStatus, transport: reader.raw("transport") };
  }

  #readQueue(queue: unknown, path: string): { registers: MutableQueueRegisters; ring: QueueState | null } {
    const reader = new StateReader(this.#name, queue, path);
    const registers = reader.object("registers");
    const ring = reader.raw("ring") as QueueState | null;
    if (ring !== null && typeof ring !== "object") throw deviceStateError(this.#name, `${path}/ring`, "is no ring");
    return {
      ring,
      registers: {
        size: registers.integer("size", 0, 0xffff),
        desc: registers.bits("desc"),
        driver: registers.bits("driver"),
        device: registers.bits("device"),
        enabled: registers.boolean("enabled"),
      },
    };
  }

  #makeQueues(): void {
    this.queues = this.device.queueSizes.map((maxSize, index) =>
      createQueue({ index, memory: this.#memory, maxSize, features: this.accepted }),
    );
  }

  #acceptable(): boolean {
    return (this.accepted & ~this.offered) === 0n && hasBit(this.accepted, VIRTIO_F_VERSION_1);
  }
}

function freshRegisters(size: number): MutableQueueRegisters {
  return { size, desc: 0n, driver: 0n, device: 0n, enabled: false };
}
