import type { AccessSize, BusHandler } from "@baton/core-kvm/handler";
import { StateReader } from "../../device/state.js";
import type { MutableQueueRegisters, VirtioCore } from "../core.js";
import { MMIO_CONFIG, MMIO_MAGIC, MMIO_QUEUE_NOTIFY, MMIO_VENDOR, MMIO_VERSION } from "./layout.js";

/** One register of 32 bits; what it lacks reads as 0 and ignores writes. */
interface Register {
  readonly read?: () => number;
  readonly write?: (value: number) => void;
}

/** What the driver has selected: its writes are about this. */
interface Selectors {
  deviceFeatures: number;
  driverFeatures: number;
  queue: number;
}

/** The registers of virtio-mmio version 2 (virtio 1.2, 4.2.2), save the two for interrupts. */
export class MmioRegisters implements BusHandler {
  readonly #core: VirtioCore;
  readonly #table: ReadonlyMap<number, Register>;
  #selected: Selectors = { deviceFeatures: 0, driverFeatures: 0, queue: 0 };

  /** `kick` is called for a doorbell that came as an access. */
  constructor(core: VirtioCore, kick: (queue: number) => void) {
    this.#core = core;
    this.#table = new Map<number, Register>([
      [0x00, { read: () => MMIO_MAGIC }],
      [0x04, { read: () => MMIO_VERSION }],
      [0x08, { read: () => core.device.deviceId }],
      [0x0c, { read: () => MMIO_VENDOR }],
      [0x10, { read: () => half(core.offered, this.#selected.deviceFeatures) }],
      [0x14, { write: (value) => (this.#selected.deviceFeatures = value) }],
      [0x20, { write: (value) => this.#accept(value) }],
      [0x24, { write: (value) => (this.#selected.driverFeatures = value) }],
      [0x30, { write: (value) => (this.#selected.queue = value) }],
      [0x34, { read: () => core.device.queueSizes[this.#selected.queue] ?? 0 }],
      [0x38, this.#queueRegister((queue, value) => (queue.size = value & 0xffff))],
      [
        0x44,
        {
          read: () => (core.registers[this.#selected.queue]?.enabled ? 1 : 0),
          ...this.#queueRegister((queue, value) => (queue.enabled = value === 1)),
        },
      ],
      [MMIO_QUEUE_NOTIFY, { write: kick }],
      [0x70, { read: () => core.status, write: (value) => this.#writeStatus(value) }],
      [0x80, this.#queueRegister((queue, value) => (queue.desc = withHalf(queue.desc, 0, value)))],
      [0x84, this.#queueRegister((queue, value) => (queue.desc = withHalf(queue.desc, 1, value)))],
      [0x90, this.#queueRegister((queue, value) => (queue.driver = withHalf(queue.driver, 0, value)))],
      [0x94, this.#queueRegister((queue, value) => (queue.driver = withHalf(queue.driver, 1, value)))],
      [0xa0, this.#queueRegister((queue, value) => (queue.device = withHalf(queue.device, 0, value)))],
      [0xa4, this.#queueRegister((queue, value) => (queue.device = withHalf(queue.device, 1, value)))],
      // No shared memory regions: their lengths read as -1 (4.2.2.1).
      [0xb0, { read: () => 0xffff_ffff }],
      [0xb4, { read: () => 0xffff_ffff }],
      [0xb8, { read: () => 0xffff_ffff }],
      [0xbc, { read: () => 0xffff_ffff }],
      [0xfc, { read: () => core.configGeneration }],
    ]);
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= MMIO_CONFIG) return this.#readConfig(offset - MMIO_CONFIG, size);
    return size === 4 ? (this.#table.get(offset)?.read?.() ?? 0) : 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= MMIO_CONFIG) this.#writeConfig(offset - MMIO_CONFIG, size, value);
    else if (size === 4) this.#table.get(offset)?.write?.(value >>> 0);
  }

  /** The selectors, as the transport's part of a state. */
  save(): unknown {
    return { ...this.#selected };
  }

  /** Takes saved selectors; throws `DEVICE_STATE`. */
  load(device: string, state: unknown): void {
    const reader = new StateReader(device, state, "transport");
    this.#selected = {
      deviceFeatures: reader.integer("deviceFeatures", 0, 0xffff_ffff),
      driverFeatures: reader.integer("driverFeatures", 0, 0xffff_ffff),
      queue: reader.integer("queue", 0, 0xffff_ffff),
    };
  }

  #queueRegister(set: (queue: MutableQueueRegisters, value: number) => void): Register {
    return {
      write: (value) => {
        const queue = this.#core.registers[this.#selected.queue];
        if (queue !== undefined && this.#core.configurable) set(queue, value);
      },
    };
  }

  #accept(value: number): void {
    const { driverFeatures } = this.#selected;
    if (driverFeatures > 1) {
      // Bits beyond 63 are never offered; a driver that accepts one must not come to FEATURES_OK.
      if (value !== 0) this.#core.accept(this.#core.accepted | (~this.#core.offered & 0xffff_ffff_ffff_ffffn));
      return;
    }
    this.#core.accept(withHalf(this.#core.accepted, driverFeatures, value));
  }

  #writeStatus(value: number): void {
    if (value === 0) this.#selected = { deviceFeatures: 0, driverFeatures: 0, queue: 0 };
    this.#core.writeStatus(value & 0xff);
  }

  #readConfig(at: number, size: AccessSize): number {
    const { config } = this.#core.device;
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (config[at + i] ?? 0);
    return value;
  }

  #writeConfig(at: number, size: AccessSize, value: number): void {
    const { device } = this.#core;
    if (at + size > device.config.length) return;
    const bytes = Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24).subarray(0, size);
    this.#core.guard(() => device.writeConfig?.(at, bytes));
  }
}

/** The low (0) or high (1) 32 bits; 0 for others. */
function half(bits: bigint, index: number): number {
  if (index > 1) return 0;
  return Number((bits >> BigInt(32 * index)) & 0xffff_ffffn);
}

function withHalf(bits: bigint, index: number, value: number): bigint {
  const shift = BigInt(32 * index);
  return (bits & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
}
