import type { Readable, Writable } from "node:stream";
import type { BusDevice, CpuTopology, PollingOptions } from "@baton/core-kvm";
import type { ChardevBackend, OpenOrFind, VirtioDeviceDescription } from "@baton/devices-virtio";
import type { BackendOptions, RamBlock } from "@baton/memory";
import type { OutputPolicy } from "./platform/uart-16550.js";

/** Where a console's bytes go to and come from. */
export type ConsoleBackend =
  /** Streams in the embedder's thread. */
  | {
      readonly kind: "stream";
      readonly output?: Writable;
      readonly input?: Readable;
      readonly onOutput?: (bytes: Uint8Array) => void;
    }
  | ChardevBackend;

/** A serial port: the first is COM1. */
export interface SerialDevice {
  readonly kind: "serial";
  readonly backend: ConsoleBackend;
  readonly policy: OutputPolicy;
  /** The back end's name in queries; `serial0` unless given. */
  readonly label?: string;
}

/** A device of the embedder's own, answered at ports or addresses of its choice. */
export interface CustomDevice {
  readonly kind: "custom";
  readonly device: BusDevice;
}

/** What `devices` may hold. */
export type DeviceDescription = SerialDevice | CustomDevice | VirtioDeviceDescription;

/** How long an iothread polls at most before it sleeps, unless it is told otherwise: QEMU's figure. */
export const DEFAULT_POLL_MAX_NS = 32_768;

/** A device thread of the VM's own, on which devices may be placed. */
export interface IothreadConfig {
  readonly id: string;
  /** How long it polls before it sleeps; 32,768 ns at most unless given. */
  readonly polling?: PollingOptions;
}

/** Places for disks and network cards that come and go while the guest runs; none unless said otherwise. */
export interface SlotsConfig {
  /** For disks, up to 6; the disks of `devices` stand in the first of them. */
  readonly disks?: number;
  /** For network cards, up to 2; those of `devices` stand in the first of them. */
  readonly nics?: number;
  /** Pairs of queues of cards that are plugged in; 1 unless given. */
  readonly nicQueues?: number;
  /** The iothread that serves what is plugged in; the shared device thread unless given. */
  readonly iothread?: string;
  /** What these cards stand on; `tap` unless given. */
  readonly nicBackend?: "tap" | "socket";
}

/** Options of {@link serial}. */
export interface SerialOptions {
  readonly output?: Writable;
  readonly input?: Readable;
  readonly onOutput?: (bytes: Uint8Array) => void;
  readonly backend?: ConsoleBackend;
  /** What a reader that is too slow does to the guest: `wait` (default) or `drop`. */
  readonly policy?: OutputPolicy;
  /** The back end's name in queries; `serial0` unless given. */
  readonly label?: string;
}

/** A 16550 serial port at COM1. */
export function serial(options: SerialOptions = {}): SerialDevice {
  const { output, input, onOutput, backend, policy = "wait", label } = options;
  const stream = {
    kind: "stream" as const,
    ...(output && { output }),
    ...(input && { input }),
    ...(onOutput && { onOutput }),
  };
  return { kind: "serial", backend: backend ?? stream, policy, ...(label !== undefined && { label }) };
}

/** A device of one's own on the bus. */
export function customDevice(device: BusDevice): CustomDevice {
  return { kind: "custom", device };
}

/** What a VM is made of. */
export interface VmConfig {
  readonly name?: string;
  readonly memory: {
    readonly sizeMiB: number;
    /** How RAM is backed; a shared memfd unless said otherwise. */
    readonly backend?: BackendOptions;
    /** Touches all RAM before the guest starts. */
    readonly prealloc?: boolean;
    /** The object's id in messages and for hand-over; `pc.ram` unless said otherwise. */
    readonly id?: string;
    /** Alignment of the mapping in bytes, a power of two. */
    readonly alignment?: number;
    /** Whether core dumps of the process hold guest RAM; not unless said so. */
    readonly dump?: boolean;
    /** RAM that exists already, such as another VM's; it is not closed with the VM. */
    readonly block?: RamBlock;
  };
  /** vCPUs that run from the start; 1 unless said otherwise. */
  readonly vcpus?: number;
  /** Places for vCPUs; as many as run unless said otherwise. */
  readonly maxVcpus?: number;
  /** `maxVcpus` sockets of one core unless said otherwise. */
  readonly topology?: CpuTopology;
  readonly cpuFeatures?: ReadonlyMap<string, boolean>;
  readonly boot: {
    readonly kernel: string | Uint8Array;
    readonly initrd?: string | Uint8Array;
    readonly cmdline?: string;
    /** How an ELF kernel that knows both protocols is entered. */
    readonly protocol?: "pvh" | "linux64";
  };
  readonly devices?: readonly DeviceDescription[];
  readonly iothreads?: readonly IothreadConfig[];
  /** Where `attach` can put devices: the guest finds an empty disk or a card without a cable in each. */
  readonly slots?: SlotsConfig;
  /** Where devices get their descriptors from; opened unless given. */
  readonly openOrFind?: OpenOrFind;
  /**
   * How the guest finds virtio devices: `acpi` (default), or `cmdline`, by words added to its command line, for kernels
   * that know no ACPI. Never by both.
   */
  readonly discovery?: "acpi" | "cmdline";
  /** What a triple fault, a reset and a panic lead to. */
  readonly policy?: {
    /** `reset` (default) or `shutdown`, as QEMU's `-no-reboot`. */
    readonly onReset?: "reset" | "shutdown";
    /** `shutdown` (default) ends the VM, `pause` leaves it paused, as QEMU's `-no-shutdown`. */
    readonly onShutdown?: "shutdown" | "pause";
    /** `pause` (default), `shutdown`, `reset` or `run`. */
    readonly onPanic?: "pause" | "shutdown" | "reset" | "run";
  };
}
