import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import {
  assignIoeventfd,
  assignIrqfd,
  type BusDevice,
  type DeviceThread,
  deassignIoeventfd,
  deassignIrqfd,
  type Ioeventfd,
  type Irqfd,
  type ServiceHandle,
  type Vm,
} from "@baton/core-kvm";
import { BatonError, eventfd, type Fd } from "@baton/linux";
import type { GuestMemory } from "@baton/memory";
import type { MachineFacts, OpenedDevice, OpenOrFind, VirtioDeviceDescription } from "../../device/description.js";
import type { VirtioEvent } from "../../device/device.js";
import type { VirtioState } from "../../device/state.js";
import { SHARED_BYTES } from "./interrupt-status.js";
import { MMIO_INTERRUPT, MMIO_LENGTH, MMIO_QUEUE_NOTIFY } from "./layout.js";
import type { QuiesceReport, VirtioReplacement, VirtioServiceOptions } from "./service.js";

const here = createRequire(import.meta.url);

/** Where a virtio-mmio device stands in its machine. */
export interface VirtioMmioOptions {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  /** The thread that serves it. */
  readonly thread: DeviceThread;
  /** Guest physical address of its registers, {@link MMIO_LENGTH} bytes. */
  readonly base: bigint;
  /** Its interrupt, edge-triggered. */
  readonly gsi: number;
  readonly openOrFind: OpenOrFind;
  /** Whether a state is going to be loaded. */
  readonly incoming?: boolean;
  readonly onEvent?: (event: VirtioEvent) => void;
  /** The device threw and has been ended: the guest cannot go on. */
  readonly onFailed?: (error: BatonError) => void;
}

/** A virtio device on the virtio-mmio transport, as its machine sees it; the device itself lives in a device thread. */
export class VirtioMmioDevice {
  #description: VirtioDeviceDescription;
  readonly base: bigint;
  readonly gsi: number;
  readonly thread: DeviceThread;
  readonly #vm: Vm;
  readonly #service: ServiceHandle;
  readonly #shared: SharedArrayBuffer;
  readonly #facts: MachineFacts;
  #opened: OpenedDevice;
  readonly #irqfd: Irqfd;
  readonly #doorbells: readonly Ioeventfd[];
  readonly #fds: readonly Fd[];
  #wired = false;
  #active: boolean;
  #closing: Promise<void> | undefined;

  private constructor(
    description: VirtioDeviceDescription,
    options: VirtioMmioOptions,
    parts: {
      service: ServiceHandle;
      shared: SharedArrayBuffer;
      facts: MachineFacts;
      opened: OpenedDevice;
      interrupt: Fd;
      doorbells: readonly Fd[];
    },
  ) {
    this.#description = description;
    this.base = options.base;
    this.gsi = options.gsi;
    this.thread = options.thread;
    this.#vm = options.vm;
    this.#service = parts.service;
    this.#shared = parts.shared;
    this.#facts = parts.facts;
    this.#opened = parts.opened;
    this.#active = !parts.facts.incoming;
    this.#fds = [parts.interrupt, ...parts.doorbells];
    this.#irqfd = { gsi: options.gsi, eventfd: parts.interrupt };
    this.#doorbells = parts.doorbells.map((fd, queue) => ({
      eventfd: fd,
      space: "mmio",
      address: options.base + BigInt(MMIO_QUEUE_NOTIFY),
      length: 4,
      datamatch: BigInt(queue),
    }));
  }

  /** Opens what the device needs and starts it in its thread. Its bus devices must be on the bus before the vCPUs start. */
  static async start(description: VirtioDeviceDescription, options: VirtioMmioOptions): Promise<VirtioMmioDevice> {
    const ramBytes = options.memory.describe().regions.reduce((sum, { size }) => sum + Number(size), 0);
    const facts: MachineFacts = { ramBytes, incoming: options.incoming ?? false };
    const opened = description.open(options.openOrFind, facts);
    const fds: Fd[] = [];
    let service: ServiceHandle | undefined;
    try {
      const interrupt = eventfd({ nonblock: true, name: `${description.id} interrupt` });
      fds.push(interrupt);
      const doorbells: Fd[] = [];
      for (let i = 0; i < description.queues; i++) {
        doorbells.push(eventfd({ nonblock: true, name: `${description.id} doorbell ${i}` }));
      }
      fds.push(...doorbells);
      const shared = new SharedArrayBuffer(SHARED_BYTES);
      const serviceOptions: VirtioServiceOptions = {
        id: description.id,
        memory: options.memory.describe(),
        device: {
          module: description.module ?? pathToFileURL(here.resolve("@baton/devices-virtio/devices")).href,
          factory: description.factory,
          options: opened.options,
        },
        rings: description.rings ?? {},
        doorbells: doorbells.map((fd) => fd.raw),
        interrupt: interrupt.raw,
        shared,
      };
      const module = pathToFileURL(here.resolve("@baton/devices-virtio/service")).href;
      service = await options.thread.serve(
        { module, factory: "virtioMmioService", options: serviceOptions },
        {
          onEvent: (event) => options.onEvent?.(event as VirtioEvent),
          onFailed: (error) => options.onFailed?.(error),
        },
      );
      const device = new VirtioMmioDevice(description, options, {
        ...{ service, shared, facts, opened, interrupt, doorbells },
      });
      device.#wire();
      return device;
    } catch (error) {
      await service?.close();
      for (const fd of fds) fd.close();
      await opened.close(false);
      throw error;
    }
  }

  /** Its id: that of the device that stands here now. */
  get id(): string {
    return this.#description.id;
  }

  /** What it was made of, or {@link replace}d by. */
  get description(): VirtioDeviceDescription {
    return this.#description;
  }

  /** What goes on the machine's bus: the registers, answered by the device, and the interrupt status, by the vCPU. */
  get busDevices(): readonly BusDevice[] {
    const { base } = this;
    const after = MMIO_INTERRUPT.offset + MMIO_INTERRUPT.length;
    return [
      {
        name: this.id,
        ranges: [
          { space: "mmio", base, length: MMIO_INTERRUPT.offset },
          { space: "mmio", base: base + BigInt(after), length: MMIO_LENGTH - after, offset: after },
        ],
        handler: { thread: "service", service: this.#service },
      },
      {
        name: `${this.id}/interrupt`,
        ranges: [{ space: "mmio", base: base + BigInt(MMIO_INTERRUPT.offset), length: MMIO_INTERRUPT.length }],
        handler: {
          thread: "vcpu",
          module: pathToFileURL(here.resolve("@baton/devices-virtio/handler")).href,
          factory: "virtioInterruptStatus",
          shared: this.#shared,
        },
      },
    ];
  }

  /** With the vCPUs paused: ends all I/O; nothing that the guest could see happens until {@link resume}. */
  async quiesce(): Promise<QuiesceReport> {
    const report = (await this.#service.call("quiesce")) as QuiesceReport;
    this.#unwire();
    return report;
  }

  /** The state of the quiesced device; changes nothing. */
  async save(): Promise<VirtioState> {
    return (await this.#service.call("save")) as VirtioState;
  }

  /** Takes a state, which may be repeated before {@link resume}. Throws `DEVICE_STATE` or `VIRTQUEUE_STATE`. */
  async load(state: VirtioState): Promise<void> {
    await this.#service.call("load", state);
  }

  /** Whether it has what only one machine may have at a time. */
  get active(): boolean {
    return this.#active;
  }

  /**
   * Takes what only one machine may have at a time, unless it has it: where a state was to come, before {@link resume}, and
   * after {@link inactivate}. Throws `IMAGE_LOCKED` where another has it.
   */
  activate(): void {
    if (this.#active) return;
    this.#opened.activate?.();
    this.#active = true;
  }

  /** Gives that to another machine, which is to go on with the state that {@link save} gave. */
  inactivate(): void {
    if (!this.#active) return;
    this.#opened.inactivate?.();
    this.#active = false;
  }

  /** Goes on after {@link quiesce} or {@link load}: every queue counts as kicked, and a lost interrupt comes again. */
  async resume(): Promise<void> {
    this.#wire();
    await this.#service.call("resume");
  }

  /** Puts it back to how it was made, as a reset of the machine does. */
  async reset(): Promise<void> {
    await this.#service.call("reset");
  }

  /**
   * Opens what another device of the same kind needs and puts that in the place of this one, while the guest's driver
   * goes on: it sees a configuration that has changed. What this one had open is closed. Errors: those of the
   * description, and `DEVICE_SHAPE` where the driver was promised what the other does not keep; then nothing has changed.
   */
  async replace(description: VirtioDeviceDescription, openOrFind: OpenOrFind): Promise<void> {
    const { id, factory, module, rings } = description;
    if (factory !== this.#description.factory || module !== this.#description.module) {
      const kinds = `a ${description.model} cannot take the place of a ${this.#description.model}`;
      throw new BatonError("DEVICE_SHAPE", `${id}: ${kinds}`);
    }
    const opened = description.open(openOrFind, { ...this.#facts, incoming: false });
    try {
      const replacement: VirtioReplacement = { id, options: opened.options, rings: rings ?? {} };
      await this.#service.call("replace", replacement);
    } catch (error) {
      await opened.close(false);
      throw error;
    }
    const former = this.#opened;
    this.#opened = opened;
    this.#active = true;
    this.#description = description;
    await former.close(false);
  }

  /** Takes its views of guest memory anew, after that was rebased. */
  async refresh(memory: GuestMemory): Promise<void> {
    await this.#service.call("refresh", memory.describe());
  }

  /** Asks the device something that only its kind knows. */
  command(name: string, args?: unknown): Promise<unknown> {
    return this.#service.call("command", { name, args });
  }

  /**
   * Ends the device and closes what it had; after its state was handed over to another machine, without an effect on
   * what that has. The vCPUs must not run. May be called again.
   */
  close(handedOver = false): Promise<void> {
    this.#closing ??= (async () => {
      this.#unwire();
      // A thread that has failed answers nothing, and has nothing left.
      if (handedOver) await this.#service.call("give-state").catch(() => {});
      await this.#service.close();
      for (const fd of this.#fds) fd.close();
      await this.#opened.close(handedOver);
    })();
    return this.#closing;
  }

  #wire(): void {
    if (this.#wired) return;
    this.#wired = true;
    assignIrqfd(this.#vm, this.#irqfd);
    for (const doorbell of this.#doorbells) assignIoeventfd(this.#vm, doorbell);
  }

  /** Returns when interrupts that were under way have reached the guest's interrupt controller. */
  #unwire(): void {
    if (!this.#wired || this.#vm.fd.closed) return;
    this.#wired = false;
    for (const doorbell of this.#doorbells) deassignIoeventfd(this.#vm, doorbell);
    deassignIrqfd(this.#vm, this.#irqfd);
  }
}
