import { readFileSync } from "node:fs";
import {
  Bus,
  bootLayout,
  type CpuTopology,
  checkCpuFeatures,
  cpuPlace,
  createIrqchip,
  createPit,
  getClock,
  getCpuid,
  getIrqchip,
  getPit,
  getVcpuState,
  guestCpuid,
  Kvm,
  loadKernel,
  MSR_TSC,
  setClock,
  setCpuid,
  setIrqchip,
  setIrqLine,
  setPit,
  setVcpuState,
  setXcrs,
  threadPool,
  VcpuGroup,
  type VcpuState,
  type Vm,
  writeAcpi,
} from "@baton/core-kvm";
import type { VirtioEvent } from "@baton/devices-virtio";
import { BatonError, bootId, realtimeNs } from "@baton/linux";
import { GuestMemory, RamBlock } from "@baton/memory";
import type { VmConfig } from "../config.js";
import { loadRtc, saveRtc } from "../platform/rtc.js";
import { Uart16550 } from "../platform/uart-16550.js";
import { elapsedSince, keepWallClocks, withLaterTsc } from "./guest-time.js";
import { createPlatformMemory, microvmAcpi, microvmLayout, type PlatformMemory, platformDevices } from "./microvm.js";
import type { MachineState } from "./state.js";
import { VirtioDevices } from "./virtio-devices.js";
import { type VirtioSlot, virtioCmdline } from "./virtio-slots.js";
import { type MachineInventory, machineInventory } from "./vmstate/inventory.js";

/** The most RAM and vCPUs that a configuration may ask for. */
const MAX_MEMORY_MIB = 4 * 1024 * 1024;
const MAX_VCPUS = 254;

/** How a guest's clocks go on in another machine: the time in between counts, or does not. */
export type ClockMode = "advance" | "freeze";

/** What a machine needs beside its configuration. */
export interface MachineOptions {
  readonly config: VmConfig;
  /** Whether the guest has a serial port, and how its back end is woken. */
  readonly uart: { readonly policy: "wait" | "drop"; readonly outputFd: number; readonly inputFd: number } | null;
  /** The state to go on from, or `later` where {@link Machine.load} will bring it; without it the kernel is booted. */
  readonly state?: MachineState | "later";
  /** How the guest's clocks go on after {@link state}: `advance` (default) counts the time in between. */
  readonly clock?: ClockMode;
  readonly signal?: AbortSignal;
}

/** What the owner of a machine hears of its devices. */
export interface MachineListeners {
  /** A virtio device reports something. */
  onVirtioEvent: (device: string, event: VirtioEvent) => void;
  /** A device has failed; the guest cannot go on. */
  onFailed: (error: BatonError) => void;
}

/** A microvm: RAM, KVM VM, vCPUs with their threads, platform devices. It knows nothing of run states or surfaces. */
export class Machine {
  readonly config: VmConfig;
  readonly topology: CpuTopology;
  readonly block: RamBlock;
  readonly memory: GuestMemory;
  readonly vm: Vm;
  readonly bus = new Bus();
  readonly platform: PlatformMemory = createPlatformMemory();
  readonly vcpus: VcpuGroup;
  readonly virtio: VirtioDevices;
  /** What the machine's owner hears of its devices. */
  readonly listeners: MachineListeners;
  readonly #kvm: Kvm;
  readonly #ownsBlock: boolean;
  readonly #options: MachineOptions;

  private constructor(
    options: MachineOptions,
    parts: {
      kvm: Kvm;
      vm: Vm;
      block: RamBlock;
      memory: GuestMemory;
      vcpus: VcpuGroup;
      bus: Bus;
      platform: PlatformMemory;
      topology: CpuTopology;
      virtio: VirtioDevices;
      listeners: MachineListeners;
    },
  ) {
    this.#options = options;
    this.config = options.config;
    this.topology = parts.topology;
    this.#kvm = parts.kvm;
    this.vm = parts.vm;
    this.block = parts.block;
    this.#ownsBlock = options.config.memory.block === undefined;
    this.memory = parts.memory;
    this.vcpus = parts.vcpus;
    this.bus = parts.bus;
    this.platform = parts.platform;
    this.virtio = parts.virtio;
    this.listeners = parts.listeners;
  }

  /** Makes a machine, its vCPUs paused before the first instruction. What was half made is undone on failure or abort. */
  static async create(options: MachineOptions): Promise<Machine> {
    const { config } = options;
    const topology = checkConfig(config);
    const undo: (() => void | Promise<void>)[] = [];
    try {
      options.signal?.throwIfAborted();
      const kvm = Kvm.open();
      threadPool.prestart(config.vcpus ?? 1).catch(() => {});
      undo.push(() => kvm.close());
      const block = config.memory.block ?? createBlock(config);
      if (config.memory.block === undefined) undo.push(() => block.close());
      if (config.memory.prealloc) await block.prefault(options.signal ? { signal: options.signal } : {});
      const memory = GuestMemory.layout([block]);
      const vm = createKvmVm(kvm, config, topology);
      undo.push(() => vm.close());
      vm.setMemory(memory);
      const platform = createPlatformMemory();
      const bus = new Bus();
      for (const device of platformDevices(platform, options.uart)) bus.add(device);
      for (const device of config.devices ?? []) if (device.kind === "custom") bus.add(device.device);
      const listeners: MachineListeners = { onVirtioEvent: () => {}, onFailed: () => {} };
      const virtio = await VirtioDevices.start({
        vm,
        memory,
        bus,
        descriptions: (config.devices ?? []).filter((device) => device.kind === "virtio"),
        iothreads: config.iothreads ?? [],
        ...(config.slots && { slots: config.slots }),
        cmdline: config.boot.cmdline ?? "",
        ...(config.openOrFind && { openOrFind: config.openOrFind }),
        ...(options.state && { incoming: options.state === "later" ? "later" : options.state.devices.virtio }),
        onEvent: (device, event) => listeners.onVirtioEvent(device, event),
        onFailed: (error) => listeners.onFailed(error),
      });
      undo.push(() => virtio.close());
      if (options.state === undefined)
        boot(vm, memory, config, { topology, serial: options.uart !== null, virtio: virtio.slots });
      const vcpus = await VcpuGroup.start(vm, bus, memory);
      undo.push(() => vcpus.close());
      options.signal?.throwIfAborted();
      const machine = new Machine(options, {
        kvm,
        vm,
        block,
        memory,
        vcpus,
        bus,
        platform,
        topology,
        virtio,
        listeners,
      });
      if (options.state !== undefined && options.state !== "later") await machine.load(options.state, options.clock);
      return machine;
    } catch (error) {
      for (const step of undo.reverse()) await step();
      throw error;
    }
  }

  /** The serial port's registers and rings, from the embedder's thread. */
  uart(): Uart16550 {
    return new Uart16550(this.platform.uart, {
      policy: "drop",
      setIrq: (level) => setIrqLine(this.vm.fd.raw, microvmLayout.com1.gsi, level),
      wakeReader: () => this.onUartOutput(),
      inputWanted: () => {},
    });
  }

  /** Called when the restored serial port has output for its back end. */
  onUartOutput: () => void = () => {};

  /** The state of the paused machine; its devices are quiesced until {@link resume}. */
  async saveState(): Promise<MachineState> {
    await this.virtio.quiesce();
    const virtio = await this.virtio.save();
    return {
      vcpus: this.vm.vcpus.map((vcpu) => getVcpuState(vcpu)),
      irqchip: getIrqchip(this.vm),
      pit: getPit(this.vm),
      clock: getClock(this.vm),
      devices: {
        uart: this.uart().save(),
        rtc: saveRtc(this.platform.rtc),
        i8042: [...new Int32Array(this.platform.i8042)],
        ged: [...new Int32Array(this.platform.ged)],
        virtio,
      },
    };
  }

  /** What the machine is made of at the moment. */
  get inventory(): MachineInventory {
    return machineInventory(this.config, { placed: this.virtio.descriptions });
  }

  /**
   * Goes on from a state, over RAM that has been filled, before the first instruction; only where {@link MachineOptions.state}
   * said that one was to come. What fails leaves a machine that must not run.
   */
  async load(state: MachineState, clock: ClockMode = "advance"): Promise<void> {
    const giveBack = keepWallClocks(this.memory, state.vcpus);
    restore(this.vm, this.platform, state, clock);
    giveBack();
    await this.virtio.load(state.devices.virtio);
    this.uart().load(state.devices.uart);
  }

  /** Lets the devices and then the vCPUs run. Throws `IMAGE_LOCKED`, and nothing runs, where another machine has a disk. */
  async resume(): Promise<void> {
    this.virtio.activate();
    await this.virtio.resume();
    this.vcpus.resume();
  }

  /** Puts the paused machine back to the moment before its first instruction, with the kernel loaded anew. */
  async reset(): Promise<void> {
    await this.virtio.reset();
    const pristine = createKvmVm(this.#kvm, this.config, this.topology);
    try {
      this.vm.vcpus.forEach((vcpu, i) => {
        const fresh = pristine.vcpus[i];
        if (fresh === undefined) throw new BatonError("MACHINE_RESET", `vCPU ${vcpu.id} has no reset state`);
        const state = getVcpuState(fresh);
        const msrs = state.msrs.filter((msr) => msr.index !== MSR_TSC);
        setVcpuState(vcpu, { ...state, msrs, tscOffset: null }, { keepCpuid: true });
      });
      setIrqchip(this.vm, getIrqchip(pristine));
      setPit(this.vm, getPit(pristine));
    } finally {
      pristine.close();
    }
    this.uart().reset();
    new Int32Array(this.platform.i8042).fill(0);
    new Int32Array(this.platform.ged).fill(0);
    const serial = this.#options.uart !== null;
    boot(this.vm, this.memory, this.config, { topology: this.topology, serial, virtio: this.virtio.slots });
  }

  /** Ends the vCPU threads, closes the VM and, unless it was lent, the RAM. */
  async close(handedOver = false): Promise<void> {
    await this.vcpus.close();
    await this.virtio.close(handedOver);
    this.vm.close();
    this.#kvm.close();
    if (this.#ownsBlock) this.block.close();
  }
}

function checkConfig(config: VmConfig): CpuTopology {
  const { sizeMiB } = config.memory;
  if (!Number.isInteger(sizeMiB) || sizeMiB < 1 || sizeMiB > MAX_MEMORY_MIB) {
    throw new BatonError(
      "MEMORY_SIZE",
      `A guest cannot have ${sizeMiB} MiB of memory; whole MiB from 1 to ${MAX_MEMORY_MIB}`,
    );
  }
  const { block } = config.memory;
  if (block !== undefined && block.size !== BigInt(sizeMiB) << 20n) {
    throw new BatonError(
      "MEMORY_SIZE",
      `Memory '${block.id}' has ${block.size} bytes, but the guest shall have ${sizeMiB} MiB`,
    );
  }
  const vcpus = config.vcpus ?? 1;
  const maxVcpus = config.maxVcpus ?? vcpus;
  if (!Number.isInteger(vcpus) || vcpus < 1 || !Number.isInteger(maxVcpus) || maxVcpus > MAX_VCPUS) {
    throw new BatonError("VCPU_COUNT", `A guest cannot have ${vcpus} of ${maxVcpus} vCPUs; from 1 to ${MAX_VCPUS}`);
  }
  if (maxVcpus < vcpus)
    throw new BatonError("VCPU_COUNT", `maxcpus (${maxVcpus}) is below the number of vCPUs (${vcpus})`);
  const topology = config.topology ?? { sockets: maxVcpus, dies: 1, cores: 1, threads: 1 };
  const places = topology.sockets * topology.dies * topology.cores * topology.threads;
  if (places !== maxVcpus) {
    throw new BatonError("CPU_TOPOLOGY", `The CPU topology has ${places} places, but maxcpus is ${maxVcpus}`);
  }
  return topology;
}

function createBlock(config: VmConfig): RamBlock {
  const { sizeMiB, backend, id, alignment, dump } = config.memory;
  const size = BigInt(sizeMiB) << 20n;
  return RamBlock.create({
    id: id ?? "pc.ram",
    size,
    backend: backend ?? { kind: "memfd" },
    ...(alignment !== undefined && { align: alignment }),
    dump: dump ?? false,
  });
}

/** A KVM VM with its chips and vCPUs in their reset state, and the guest's CPUID; without memory. */
function createKvmVm(kvm: Kvm, config: VmConfig, topology: CpuTopology): Vm {
  const vm = kvm.createVm();
  try {
    vm.setInternalPages({ tssGpa: bootLayout.tss, identityMapGpa: bootLayout.identityMap });
    createIrqchip(vm);
    createPit(vm);
    const supported = kvm.supportedCpuid();
    const tscDeadline = kvm.capability("TSC_DEADLINE_TIMER") > 0;
    for (let index = 0; index < (config.vcpus ?? 1); index++) {
      const { apicId } = cpuPlace(topology, index);
      const vcpu = vm.createVcpu(apicId);
      const features = config.cpuFeatures;
      setCpuid(vcpu, guestCpuid(supported, { topology, apicId, tscDeadline, ...(features && { features }) }));
    }
    return vm;
  } catch (error) {
    vm.close();
    throw error;
  }
}

function boot(
  vm: Vm,
  memory: GuestMemory,
  config: VmConfig,
  { topology, serial, virtio }: { topology: CpuTopology; serial: boolean; virtio: readonly VirtioSlot[] },
): void {
  const byAcpi = config.discovery !== "cmdline";
  const rsdp = writeAcpi(
    memory,
    microvmAcpi({ vcpus: config.vcpus ?? 1, topology, serial, virtio: byAcpi ? virtio : [] }),
  );
  const words = byAcpi || virtio.length === 0 ? [] : [virtioCmdline(virtio)];
  const { kernel, initrd, cmdline, protocol } = config.boot;
  const plan = loadKernel(memory, {
    kernel: readImage(kernel, "kernel"),
    ...(initrd !== undefined && { initrd: readImage(initrd, "initrd") }),
    cmdline: [...(cmdline ? [cmdline] : []), ...words].join(" "),
    rsdp,
    ...(protocol && { protocol }),
  });
  const [first] = vm.vcpus;
  if (first !== undefined) plan.enter(first);
  for (const vcpu of vm.vcpus) enableExtendedState(vcpu);
}

/**
 * Enables all extended state that the guest's CPUID offers before it first runs: some hosts (QEMU 7.2 under nested
 * virtualisation) do not intercept XSETBV, and the value that KVM then holds would not be the guest's.
 */
function enableExtendedState(vcpu: Parameters<typeof setXcrs>[0]): void {
  const leaf = vcpu.vm.kvm.supportedCpuid().find((entry) => entry.function === 0xd && entry.index === 0);
  if (leaf !== undefined) setXcrs(vcpu, [{ xcr: 0, value: (BigInt(leaf.edx) << 32n) | BigInt(leaf.eax) }]);
}

function readImage(source: string | Uint8Array, what: "kernel" | "initrd"): { name: string; bytes: Uint8Array } {
  if (typeof source !== "string") return { name: what, bytes: source };
  try {
    return { name: source, bytes: readFileSync(source) };
  } catch (error) {
    const code = what === "kernel" ? "KERNEL_NOT_READABLE" : "INITRD_NOT_READABLE";
    const reason = (error as NodeJS.ErrnoException).code ?? "unknown error";
    throw new BatonError(code, `Cannot read ${what} ${source}: ${reason}`, { cause: error });
  }
}

function restore(vm: Vm, platform: PlatformMemory, state: MachineState, clock: ClockMode): void {
  if (state.vcpus.length !== vm.vcpus.length) {
    throw new BatonError(
      "STATE_MISMATCH",
      `The state has ${state.vcpus.length} vCPUs, this machine has ${vm.vcpus.length}`,
    );
  }
  const offsets = clock === "advance" && state.clock.bootId === bootId();
  const elapsedNs = offsets || clock === "freeze" ? 0n : elapsedSince(state.clock, realtimeNs());
  // A KVM that cannot trap CPUID tells more than it lists.
  const here = [...vm.kvm.supportedCpuid(), ...vm.vcpus.slice(0, 1).flatMap(getCpuid)];
  for (const { cpuid } of state.vcpus) checkCpuFeatures(cpuid, here);
  vm.vcpus.forEach((vcpu, i) => {
    const saved = state.vcpus[i] as VcpuState;
    if (offsets) setVcpuState(vcpu, saved);
    else setVcpuState(vcpu, withLaterTsc(saved, elapsedNs), { tsc: "value" });
  });
  setIrqchip(vm, state.irqchip);
  setPit(vm, state.pit);
  setClock(vm, state.clock, { advance: clock === "advance" });
  loadRtc(platform.rtc, state.devices.rtc);
  new Int32Array(platform.i8042).set(state.devices.i8042);
  new Int32Array(platform.ged).set(state.devices.ged);
}
