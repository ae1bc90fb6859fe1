import { BatonError } from "@baton/linux";
import type { BackendOptions } from "@baton/memory";
import type { VmConfig } from "../config.js";
import { optionError } from "./grammar.js";
import type { BaseVmConfig, MemoryObject, VmmOptions } from "./options.js";

/** Makes a VM's configuration of the options. Errors name the option or the object: `OPTION_INVALID`, `MEMORY_BACKEND_SIZE`. */
export function vmConfig(options: VmmOptions): BaseVmConfig {
  if (options.kernel === undefined) {
    throw optionError(
      "kernel",
      "needed: the microvm machine boots a kernel directly",
      "Give a vmlinuz, or try: baton demo",
    );
  }
  const { smp } = options;
  return {
    ...(options.name !== undefined && { name: options.name }),
    memory: memoryConfig(options),
    ...(smp !== undefined && {
      vcpus: smp.cpus,
      maxVcpus: smp.maxcpus,
      topology: { sockets: smp.sockets, dies: smp.dies, cores: smp.cores, threads: smp.threads },
    }),
    ...(options.cpuFeatures.size > 0 && { cpuFeatures: options.cpuFeatures }),
    boot: {
      kernel: options.kernel,
      ...(options.initrd !== undefined && { initrd: options.initrd }),
      cmdline: options.append.join(" "),
    },
    policy: options.policy,
    slots: {
      disks: options.machine.diskSlots,
      nics: options.machine.nicSlots,
      nicQueues: options.machine.nicSlotQueues,
      ...(options.machine.slotIothread !== undefined && { iothread: options.machine.slotIothread }),
    },
    ...(options.iothreads.length > 0 && { iothreads: options.iothreads }),
    ...(options.machine.autoKernelCmdline && { discovery: "cmdline" }),
  };
}

function memoryConfig(options: VmmOptions): VmConfig["memory"] {
  const { memoryBytes, machine } = options;
  if (memoryBytes % (1n << 20n) !== 0n) throw optionError("m", `${memoryBytes} bytes are not whole MiB`);
  const sizeMiB = Number(memoryBytes >> 20n);
  const dump = machine.dumpGuestCore;
  const object = memoryObject(options);
  if (object !== undefined) {
    if (options.memPath !== undefined) {
      throw optionError("mem-path", `guest memory is backed by object '${object.id}' already`);
    }
    if (object.size !== memoryBytes) {
      throw new BatonError(
        "MEMORY_BACKEND_SIZE",
        `Memory backend '${object.id}' has ${object.size >> 20n} MiB, but the guest has ${sizeMiB} MiB (-m)`,
        { hint: "Make both the same size" },
      );
    }
    return {
      sizeMiB,
      id: object.id,
      prealloc: object.prealloc || options.memPrealloc,
      dump: object.dump ?? dump,
      ...backendOf(object),
    };
  }
  const path = options.memPath;
  const backend: { backend?: BackendOptions } =
    path === undefined ? {} : { backend: { kind: "file", path, share: machine.memShare ?? false } };
  return { sizeMiB, prealloc: options.memPrealloc, dump, ...backend };
}

/** The object that backs guest memory: the one that `-machine` names, or the only one. */
function memoryObject({ machine, objects }: VmmOptions): MemoryObject | undefined {
  const id = machine.memoryBackend;
  if (id === undefined) {
    if (objects.size > 1) {
      const ids = [...objects.keys()].join(", ");
      throw optionError("object", `several memory backends: ${ids}`, "Say which with -machine memory-backend=ID");
    }
    return [...objects.values()][0];
  }
  const object = objects.get(id);
  if (object === undefined) throw optionError("machine", `memory-backend: there is no object '${id}'`);
  return object;
}

function backendOf(object: MemoryObject): Pick<VmConfig["memory"], "backend" | "alignment"> {
  const alignment = object.align === undefined ? {} : { alignment: object.align };
  if (object.kind === "file")
    return { backend: { kind: "file", path: object.path as string, share: object.share ?? false }, ...alignment };
  if (object.share === false) return { backend: { kind: "anonymous" }, ...alignment };
  return { backend: { kind: "memfd", ...(object.hugePages && { hugePages: object.hugePages }) }, ...alignment };
}
