import { BatonError } from "@baton/linux";
import { parseMigrationAddress } from "@baton/migration";
import { MAX_SLOTS } from "../machine/device-places.js";
import { parseDevice } from "./device/table.js";
import { parseDrive } from "./drive.js";
import { checkKeys, optionError, parseBool, parseInteger, parseSize, parseSubOptions } from "./grammar.js";
import { parseNetdev } from "./netdev.js";
import { applyObject } from "./object.js";
import type { VmmOptions } from "./options.js";
import { parseMetrics, parseMon, parseMonitor, parseQmp } from "./surface.js";
import { parseChardev, parseSmp } from "./values.js";

/** One option of the command line: what it takes, what it does, what `-help` says. */
export interface OptionEntry {
  /** The form of its value; absent for a flag. */
  readonly argument?: string;
  /** Whether the value may be left out. */
  readonly optional?: boolean;
  /** Whether it may stand more than once. */
  readonly repeat?: boolean;
  readonly help: string;
  apply(options: VmmOptions, value: string, name: string): void;
}

/** The most pairs of queues of a network card. */
const MAX_PAIRS = 16;

/** Accepted for the sake of scripts written for QEMU or StratoVirt, and without effect here. */
const ignored = (argument?: string): OptionEntry => ({
  ...(argument && { argument }),
  repeat: true,
  help: "",
  apply: () => {},
});

/** Every option, by its name. The one place that knows them: parsing and help are made from it. */
export const optionTable: Readonly<Record<string, OptionEntry>> = {
  name: { argument: "NAME", help: "name of the VM", apply: (o, v) => (o.name = v.replace(/^guest=/, "")) },
  machine: {
    argument: "TYPE[,KEY=VALUE...]",
    repeat: true,
    help: "microvm; memory-backend=, aux-ram-share=, dump-guest-core=, auto-kernel-cmdline=, disk-slots=0..6, nic-slots=0..2, nic-slot-queues=1..16, slot-iothread=ID",
    apply: applyMachine,
  },
  M: { argument: "TYPE[,KEY=VALUE...]", repeat: true, help: "", apply: applyMachine },
  accel: {
    argument: "kvm",
    help: "the accelerator: kvm",
    apply: (_, v, n) => {
      if (!/^kvm(:|,|$)/.test(v)) throw optionError(n, `'${v}' is not supported`, "Baton runs guests on KVM alone");
    },
  },
  "enable-kvm": ignored(),
  cpu: { argument: "host[,+FEATURE][,-FEATURE]", help: "the CPU that the guest sees", apply: applyCpu },
  smp: {
    argument: "N[,maxcpus=M][,sockets=][,dies=][,cores=][,threads=]",
    help: "vCPUs and their topology",
    apply: (o, v, n) => (o.smp = parseSmp(n, v)),
  },
  m: {
    argument: "SIZE[K|M|G]",
    help: "guest memory; MiB without a unit, 256 MiB without this option",
    apply(o, v, n) {
      const { first, pairs } = parseSubOptions(n, v, true);
      checkKeys(n, { first, pairs }, ["size", "maxmem", "slots"]);
      o.memoryBytes = parseSize(n, "size", pairs.get("size") ?? first ?? "");
    },
  },
  "mem-path": {
    argument: "PATH",
    help: "file or hugetlbfs directory that backs guest memory",
    apply: (o, v) => (o.memPath = v),
  },
  "mem-prealloc": { help: "touch all guest memory before the guest starts", apply: (o) => (o.memPrealloc = true) },
  object: {
    argument:
      "memory-backend-{ram,file,memfd},id=,size=[,...] | iothread,id=[,poll-max-ns=] | rng-random,id=,filename=",
    repeat: true,
    help: "a memory backend (mem-path=, align=, share=, prealloc=, dump=, hugetlb=, hugetlbsize=), a device thread, a source of entropy",
    apply: applyObject,
  },
  drive: {
    argument: "id=ID,file=PATH[,readonly=][,direct=][,...]",
    repeat: true,
    help: "a disk image for a -device: overlay=, cache=, discard=, serial=, rerror=, werror=, throttling.iops-total=, throttling.bps-total=",
    apply(o, v, n) {
      const drive = parseDrive(n, v);
      if (o.drives.has(drive.id)) throw optionError(n, `the id '${drive.id}' is taken`);
      o.drives.set(drive.id, drive);
    },
  },
  netdev: {
    argument: "tap,id=ID,ifname=NAME|fd=N|fds=N:N[,vhost=on|off][,queues=N]",
    repeat: true,
    help: "a network for a -device: vhostfd=, vhostfds=, script=no, downscript=no; `docs/devices/net.md` prepares the host",
    apply(o, v, n) {
      const netdev = parseNetdev(n, v);
      if (o.netdevs.has(netdev.id)) throw optionError(n, `the id '${netdev.id}' is taken`);
      o.netdevs.set(netdev.id, netdev);
    },
  },
  device: {
    argument: "DRIVER[,id=ID][,KEY=VALUE...]",
    repeat: true,
    help: "a device; `docs/devices/README.md` lists the drivers",
    apply: (o, v, n) => o.devices.push(parseDevice(n, v)),
  },
  kernel: { argument: "FILE", help: "a bzImage, or an ELF kernel", apply: (o, v) => (o.kernel = v) },
  initrd: { argument: "FILE", help: "the initial RAM disk", apply: (o, v) => (o.initrd = v) },
  append: {
    argument: "WORDS",
    repeat: true,
    help: "the kernel's command line; repeated ones are joined",
    apply: (o, v) => o.append.push(v),
  },
  serial: {
    argument: "stdio|pty|null|console|file:PATH|unix:PATH,server,nowait|chardev:ID",
    help: "where the first serial port goes; console: to whoever calls `baton console`",
    apply(o, v, n) {
      if (v === "console") o.serial = { attachable: true };
      else o.serial = v.startsWith("chardev:") ? { chardev: v.slice(8) } : { backend: parseChardev(n, v).backend };
    },
  },
  chardev: {
    argument: "BACKEND,id=ID[,...]",
    repeat: true,
    help: "a character device: stdio, pty, null, file (path=, append=), socket (path=; a listening one with server,nowait)",
    apply(o, v, n) {
      const { id, backend } = parseChardev(n, v);
      if (id === undefined) throw optionError(n, "needs id=");
      if (o.chardevs.has(id)) throw optionError(n, `the id '${id}' is taken`);
      o.chardevs.set(id, backend);
    },
  },
  qmp: {
    argument: "unix:PATH,server,nowait|tcp:HOST:PORT,server,nowait|stdio",
    repeat: true,
    help: "a QMP server",
    apply: (o, v, n) => o.qmp.push(parseQmp(n, v)),
  },
  monitor: {
    argument: "stdio|unix:PATH,server,nowait|tcp:HOST:PORT,server,nowait|none[,prompt=TEXT]",
    repeat: true,
    help: "a monitor for people",
    apply(o, v, n) {
      const monitor = parseMonitor(n, v);
      if (monitor !== null) o.monitors.push(monitor);
    },
  },
  mon: {
    argument: "chardev=ID[,mode=readline|control][,prompt=TEXT]",
    repeat: true,
    help: "a monitor for people, or with mode=control a QMP server, on a -chardev",
    apply: (o, v, n) => o.mons.push(parseMon(n, v)),
  },
  metrics: {
    argument: "unix:PATH",
    repeat: true,
    help: "serves statistics to Prometheus: GET /metrics",
    apply: (o, v, n) => o.metrics.push(parseMetrics(n, v)),
  },
  pidfile: { argument: "FILE", help: "writes the process id; removed at the end", apply: (o, v) => (o.pidfile = v) },
  daemonize: { help: "goes to the background once the VM is set up", apply: (o) => (o.daemonize = true) },
  D: { argument: "FILE", help: "writes the log to a file instead of standard error", apply: (o, v) => (o.logFile = v) },
  incoming: {
    argument: "ADDRESS|defer",
    help: "goes on with a guest that comes from there: file:PATH[,offset=], unix:PATH, tcp:HOST:PORT, fd:N, exec:COMMAND; defer waits for migrate-incoming",
    apply: (o, v, n) => {
      try {
        if (v !== "defer") parseMigrationAddress(v);
      } catch (error) {
        throw optionError(n, BatonError.from(error, "CHANNEL_ADDRESS").message);
      }
      o.incoming = v;
    },
  },
  "dump-vmstate": {
    argument: "FILE",
    help: "writes what migration streams consist of, as JSON, and runs no guest",
    apply: (o, v) => (o.dumpVmstate = v),
  },
  S: { help: "does not start the guest: `cont` does", apply: (o) => (o.startPaused = true) },
  freeze: { help: "", apply: (o) => (o.startPaused = true) },
  "no-reboot": { help: "a reset of the guest ends the VM", apply: (o) => (o.policy.onReset = "shutdown") },
  "no-shutdown": { help: "a shutdown of the guest pauses the VM", apply: (o) => (o.policy.onShutdown = "pause") },
  action: {
    argument: "panic=pause|shutdown|reset|none,reboot=,shutdown=",
    repeat: true,
    help: "what a panic, reboot or shutdown of the guest leads to",
    apply: applyAction,
  },
  nographic: ignored(),
  nodefaults: ignored(),
  "no-user-config": ignored(),
  usb: ignored(),
  "disable-seccomp": ignored(),
  display: ignored("none"),
  overcommit: ignored("..."),
  uuid: ignored("..."),
  sandbox: ignored("..."),
  msg: ignored("..."),
  rtc: ignored("..."),
  boot: ignored("..."),
  realtime: ignored("..."),
};

function applyMachine(o: VmmOptions, value: string, name: string): void {
  const parsed = parseSubOptions(name, value, true);
  checkKeys(name, parsed, [
    "type",
    "accel",
    "memory-backend",
    "aux-ram-share",
    "dump-guest-core",
    "mem-share",
    "usb",
    "graphics",
    "auto-kernel-cmdline",
    "disk-slots",
    "nic-slots",
    "nic-slot-queues",
    "slot-iothread",
  ]);
  const type = parsed.pairs.get("type") ?? parsed.first;
  if (type !== undefined) {
    if (type.toLowerCase() !== "microvm")
      throw optionError(name, `machine '${type}' is not supported`, "Supported machines: microvm");
    o.machine.type = "microvm";
  }
  const bool = (key: string) =>
    parsed.pairs.has(key) ? parseBool(name, key, parsed.pairs.get(key) as string) : undefined;
  const count = (key: string, min: number, max: number) =>
    parsed.pairs.has(key) ? parseInteger(name, key, parsed.pairs.get(key) as string, min, max) : undefined;
  o.machine.diskSlots = count("disk-slots", 0, MAX_SLOTS.disk) ?? o.machine.diskSlots;
  o.machine.nicSlots = count("nic-slots", 0, MAX_SLOTS.nic) ?? o.machine.nicSlots;
  o.machine.nicSlotQueues = count("nic-slot-queues", 1, MAX_PAIRS) ?? o.machine.nicSlotQueues;
  o.machine.slotIothread = parsed.pairs.get("slot-iothread") ?? o.machine.slotIothread;
  o.machine.memoryBackend = parsed.pairs.get("memory-backend") ?? o.machine.memoryBackend;
  o.machine.auxRamShare = bool("aux-ram-share") ?? o.machine.auxRamShare;
  o.machine.dumpGuestCore = bool("dump-guest-core") ?? o.machine.dumpGuestCore;
  o.machine.autoKernelCmdline = bool("auto-kernel-cmdline") ?? o.machine.autoKernelCmdline;
  o.machine.memShare = bool("mem-share") ?? o.machine.memShare;
}

function applyCpu(o: VmmOptions, value: string, name: string): void {
  const [model, ...features] = value.split(",");
  if (model !== "host" && model !== "max")
    throw optionError(name, `CPU model '${model}' is not supported`, "Supported models: host");
  for (const feature of features) {
    const match = /^([+-])(.+)$/.exec(feature) ?? /^(.+)=(on|off)$/.exec(feature);
    if (match === null) throw optionError(name, `'${feature}' is neither +FEATURE nor -FEATURE`);
    const signed = match[1] === "+" || match[1] === "-";
    o.cpuFeatures.set((signed ? match[2] : match[1]) as string, signed ? match[1] === "+" : match[2] === "on");
  }
}

const panicActions = {
  pause: "pause",
  shutdown: "shutdown",
  reset: "reset",
  none: "run",
  "exit-failure": "shutdown",
} as const;

function applyAction(o: VmmOptions, value: string, name: string): void {
  const parsed = parseSubOptions(name, value, false);
  checkKeys(name, parsed, ["panic", "reboot", "shutdown", "watchdog"]);
  const choose = <T>(key: string, choices: Readonly<Record<string, T>>): T | undefined => {
    const text = parsed.pairs.get(key);
    if (text !== undefined && !Object.hasOwn(choices, text))
      throw optionError(name, `${key}=${text} is none of ${Object.keys(choices).join(", ")}`);
    return text === undefined ? undefined : choices[text];
  };
  const panic = choose<"pause" | "shutdown" | "reset" | "run">("panic", panicActions);
  const reboot = choose<"reset" | "shutdown">("reboot", { reset: "reset", shutdown: "shutdown" });
  const shutdown = choose<"shutdown" | "pause">("shutdown", { poweroff: "shutdown", pause: "pause" });
  if (panic) o.policy.onPanic = panic;
  if (reboot) o.policy.onReset = reboot;
  if (shutdown) o.policy.onShutdown = shutdown;
}
