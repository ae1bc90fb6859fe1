import type { ChardevBackend } from "@baton/devices-virtio";
import type { IothreadConfig, VmConfig } from "../config.js";
import { MAX_SLOTS } from "../machine/device-places.js";
import type { DeviceOption } from "./device/driver.js";
import type { DriveOption } from "./drive.js";
import type { NetdevOption } from "./netdev.js";

/** A memory backend object as given by `-object`. Sizes in bytes. */
export interface MemoryObject {
  readonly id: string;
  readonly kind: "ram" | "file" | "memfd";
  readonly size: bigint;
  readonly path?: string;
  readonly align?: number;
  readonly share?: boolean;
  readonly prealloc: boolean;
  readonly dump?: boolean;
  readonly hugePages?: "2M" | "1G";
}

/** Where a surface such as QMP or the human monitor is served. */
export type SurfaceAddress =
  | { readonly kind: "unix"; readonly path: string; readonly wait: boolean }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly wait: boolean }
  | { readonly kind: "stdio" };

/** Where metrics are served. */
export type MetricsAddress = Pick<Extract<SurfaceAddress, { readonly kind: "unix" }>, "kind" | "path">;

/** A human monitor: where it is served, and with which prompt, unless the usual one. */
export interface MonitorOption {
  readonly address: SurfaceAddress;
  readonly prompt?: string;
}

/** A `-mon`: a surface on a character device. */
export interface MonOption {
  readonly chardev: string;
  readonly mode: "readline" | "control";
  readonly prompt?: string;
}

/** A character device: the back end, and `stdio`, which only the binary has. */
export type ChardevOption = ChardevBackend | { readonly kind: "stdio" };

/** What all options together ask for. */
export interface VmmOptions {
  name: string | undefined;
  machine: {
    type: string;
    memoryBackend: string | undefined;
    auxRamShare: boolean | undefined;
    dumpGuestCore: boolean;
    autoKernelCmdline: boolean;
    memShare: boolean | undefined;
    diskSlots: number;
    nicSlots: number;
    nicSlotQueues: number;
    slotIothread: string | undefined;
  };
  kernel: string | undefined;
  initrd: string | undefined;
  append: string[];
  smp: { cpus: number; maxcpus: number; sockets: number; dies: number; cores: number; threads: number } | undefined;
  cpuFeatures: Map<string, boolean>;
  memoryBytes: bigint;
  memPath: string | undefined;
  memPrealloc: boolean;
  objects: Map<string, MemoryObject>;
  iothreads: IothreadConfig[];
  rngs: Map<string, { readonly path: string }>;
  drives: Map<string, DriveOption>;
  netdevs: Map<string, NetdevOption>;
  devices: DeviceOption[];
  chardevs: Map<string, ChardevOption>;
  /** `attachable`: on a socket in the runtime directory, for `baton console`. */
  serial: { backend: ChardevOption } | { chardev: string } | { attachable: true } | undefined;
  qmp: SurfaceAddress[];
  monitors: MonitorOption[];
  mons: MonOption[];
  metrics: MetricsAddress[];
  pidfile: string | undefined;
  daemonize: boolean;
  logFile: string | undefined;
  startPaused: boolean;
  /** Where a guest comes from, or `defer` where that is said later. */
  incoming: string | undefined;
  /** The file that gets the schema of streams, instead of a VM that runs. */
  dumpVmstate: string | undefined;
  policy: {
    onReset?: "reset" | "shutdown";
    onShutdown?: "shutdown" | "pause";
    onPanic?: "pause" | "shutdown" | "reset" | "run";
  };
}

/** The options before the first one is read. */
export function emptyOptions(): VmmOptions {
  return {
    name: undefined,
    machine: {
      type: "microvm",
      memoryBackend: undefined,
      auxRamShare: undefined,
      dumpGuestCore: true,
      autoKernelCmdline: false,
      memShare: undefined,
      diskSlots: MAX_SLOTS.disk,
      nicSlots: MAX_SLOTS.nic,
      nicSlotQueues: 1,
      slotIothread: undefined,
    },
    kernel: undefined,
    initrd: undefined,
    append: [],
    smp: undefined,
    cpuFeatures: new Map(),
    memoryBytes: 256n << 20n,
    memPath: undefined,
    memPrealloc: false,
    objects: new Map(),
    iothreads: [],
    rngs: new Map(),
    drives: new Map(),
    netdevs: new Map(),
    devices: [],
    chardevs: new Map(),
    serial: undefined,
    qmp: [],
    monitors: [],
    mons: [],
    metrics: [],
    pidfile: undefined,
    daemonize: false,
    logFile: undefined,
    startPaused: false,
    incoming: undefined,
    dumpVmstate: undefined,
    policy: { onPanic: "shutdown" },
  };
}

/** Everything of a VM's configuration that does not depend on the terminal. */
export type BaseVmConfig = Omit<VmConfig, "devices">;
