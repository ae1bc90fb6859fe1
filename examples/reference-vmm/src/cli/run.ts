import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { ChardevBackend, ConsolePortInfo } from "@baton/devices-virtio";
import { BatonError, exitImmediately } from "@baton/linux";
import type { CommandContext } from "../command/command.js";
import type { DeviceDescription } from "../config.js";
import { serial } from "../config.js";
import { createVm } from "../create-vm.js";
import { machineSchema } from "../machine/vmstate/schema.js";
import { deviceConfigs } from "../options/device/table.js";
import { portChardevs } from "../options/device/virtio-serial.js";
import { optionError } from "../options/grammar.js";
import type { ChardevOption, MonOption, VmmOptions } from "../options/options.js";
import { monAddress } from "../options/surface.js";
import { vmConfig } from "../options/vm-config.js";
import { Registration } from "../runtime-directory/registration.js";
import { MetricsServer } from "../surface/metrics/server.js";
import { MonitorServer } from "../surface/monitor/server.js";
import { QmpServer } from "../surface/qmp/server.js";
import type { VirtualMachine, VmOutcome } from "../virtual-machine.js";
import { announceReady, isDaemonChild, spawnDaemon } from "./daemonize.js";
import { exitCode, exitCodeOf } from "./exit-code.js";
import { createLogger, type Logger } from "./logger.js";
import { writePidfile } from "./pidfile.js";
import { ConsoleTerminal } from "./terminal.js";

/** How long one step of a clean end may take before the process leaves without it. */
const CLOSE_TIMEOUT_MS = 2000;

/** Runs a VM as the command line asks; resolves to the exit code when it has ended and everything is cleaned up. */
export async function runVmm(options: VmmOptions): Promise<number> {
  if (options.dumpVmstate !== undefined) {
    writeFileSync(options.dumpVmstate, `${JSON.stringify(machineSchema(), null, 1)}\n`);
    return exitCode.ok;
  }
  const ports = portChardevs(options).map((id) => options.chardevs.get(id));
  const { qmp, monitors } = surfaces(options);
  const users = [serialBackend(options), ...ports, ...qmp, ...monitors.map(({ address }) => address)];
  const onStdio = users.filter((user) => user?.kind === "stdio").length;
  if (onStdio > 1) {
    const last = monitors.some(({ address }) => address.kind === "stdio") ? "monitor" : "qmp";
    throw optionError(last, "standard input and output are taken already");
  }
  if (options.serial !== undefined && "attachable" in options.serial && options.name === undefined) {
    throw optionError("serial", "console needs a -name, by which `baton console` finds the VM");
  }
  if (options.daemonize) {
    if (onStdio > 0) throw optionError("daemonize", "cannot be used with a console, QMP or a monitor on stdio");
    if (!isDaemonChild()) return spawnDaemon();
  }
  return new Vmm(options, createLogger(options.logFile)).run();
}

/** The back end of the serial port, with `chardev:ID` looked up. */
function serialBackend(options: VmmOptions): ChardevOption | undefined {
  if (options.serial === undefined || "attachable" in options.serial) return undefined;
  if ("backend" in options.serial) return options.serial.backend;
  const backend = options.chardevs.get(options.serial.chardev);
  if (backend === undefined) throw optionError("serial", `there is no chardev '${options.serial.chardev}'`);
  return backend;
}

/** All QMP servers and monitors, those on character devices included. */
function surfaces({ qmp, monitors, mons, chardevs }: VmmOptions): Pick<VmmOptions, "qmp" | "monitors"> {
  const on = (mode: MonOption["mode"]) =>
    mons.filter((mon) => mon.mode === mode).map((mon) => ({ ...mon, address: monAddress(mon, chardevs) }));
  return {
    qmp: [...qmp, ...on("control").map(({ address }) => address)],
    monitors: [...monitors, ...on("readline")],
  };
}

/** One run of the program: the VM with its surfaces, in the order in which they come up, and down again. */
class Vmm {
  readonly #options: VmmOptions;
  readonly #log: Logger;
  readonly #undo: (() => void | Promise<void>)[] = [];
  #vm: VirtualMachine | undefined;
  #registration: Registration | undefined;
  #end: (outcome: VmOutcome) => void = () => {};
  #loggedError: unknown;

  constructor(options: VmmOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  async run(): Promise<number> {
    const release = this.#catchEnds();
    try {
      const outcome = await this.#runVm();
      return exitCodeOf(outcome);
    } finally {
      await this.#cleanUp();
      release();
    }
  }

  async #runVm(): Promise<VmOutcome> {
    const options = this.#options;
    const abort = new AbortController();
    const ended = new Promise<VmOutcome>((resolve) => {
      this.#end = (outcome) => {
        abort.abort(outcome.error ?? new BatonError("INTERRUPTED", "Interrupted before the VM was set up"));
        resolve(outcome);
      };
    });
    if (options.pidfile !== undefined) this.#undo.push(writePidfile(options.pidfile));
    this.#register();
    const { incoming } = options;
    const vm = await createVm(
      { ...vmConfig(options), devices: this.#devices() },
      { signal: abort.signal, ...(incoming !== undefined && { incoming: "later" }) },
    );
    this.#vm = vm;
    this.#undo.push(() => vm.close());
    vm.onEvent((event) => {
      if (event.type === "internal-error") this.#logError(event.error);
      else if (event.type === "run-state") this.#log.info(`run state: ${event.from} -> ${event.to}`);
    });
    if (vm.consolePath !== undefined) process.stderr.write(`serial port on ${vm.consolePath}\n`);
    await announcePorts(vm);
    const servers = await this.#listen(vm);
    if (options.daemonize) announceReady();
    await Promise.race([Promise.all(servers.map((server) => server.connected)), ended]);
    if (!abort.signal.aborted) await this.#begin(vm);
    let outcome = await Promise.race([vm.wait(), ended]);
    if (this.#staysPaused(outcome)) outcome = await ended;
    if (outcome.error !== undefined) this.#logError(outcome.error);
    const { cause } = outcome;
    if (cause === "host-signal" || cause === "host-ui" || cause === "host-error") {
      await vm.shutdown(cause).catch((error: BatonError) => this.#log.warn(error.message));
    }
    return outcome;
  }

  /** Starts the guest, or awaits the one that is to come. */
  async #begin(vm: VirtualMachine): Promise<void> {
    const { incoming, startPaused } = this.#options;
    if (incoming === undefined) {
      if (!startPaused) await vm.start();
      return;
    }
    if (startPaused) await vm.pause();
    if (incoming === "defer") return;
    try {
      const run = await vm.migration.receive(incoming);
      this.#log.info(`awaiting a guest at ${vm.migration.report().address}`);
      run.finished.catch((error: BatonError) => {
        this.#log.error(`-incoming ${incoming}: ${error.message}`);
        this.#loggedError = error;
      });
    } catch (error) {
      throw new BatonError("INCOMING", `-incoming ${incoming}: ${BatonError.from(error, "INCOMING").message}`, {
        cause: error,
      });
    }
  }

  /**
   * Takes the VM's name in the runtime directory. Where that cannot be, as while another VM has it that this one takes
   * over from, the VM runs without being found, unless its serial port is to be in the directory.
   */
  #register(): void {
    const { name, serial } = this.#options;
    if (name === undefined) return;
    try {
      const registration = Registration.take(name);
      this.#registration = registration;
      this.#undo.push(() => registration.close());
    } catch (error) {
      if (serial !== undefined && "attachable" in serial) throw error;
      this.#log.warn(`The VM will not be found by its name: ${BatonError.from(error, "RUNTIME_DIRECTORY").message}`);
    }
  }

  /** Logs an error once, although it comes as an event and as the outcome. */
  #logError(error: BatonError): void {
    if (error === this.#loggedError) return;
    this.#loggedError = error;
    this.#log.error(error.message);
  }

  #quit(cause: "host-signal" | "host-ui" | "host-qmp-quit"): void {
    this.#end({ reason: "shutdown", cause });
  }

  /** Whether the VM is left as it is for someone to look at, as QEMU leaves it. */
  #staysPaused(outcome: VmOutcome): boolean {
    const { policy } = this.#options;
    if (outcome.reason === "panic") return policy.onPanic === "pause";
    return outcome.reason === "internal-error" && policy.onShutdown === "pause";
  }

  /** Servers are closed before the VM is, so that their last events are still sent. */
  async #listen(vm: VirtualMachine): Promise<(QmpServer | MonitorServer)[]> {
    const servers: (QmpServer | MonitorServer)[] = [];
    const context = { vm, quit: () => this.#quit("host-qmp-quit"), log: this.#log };
    const { qmp, monitors } = surfaces(this.#options);
    for (const { address, prompt } of monitors) {
      const server = await MonitorServer.listen(address, context, prompt === undefined ? {} : { prompt });
      this.#undo.push(() => server.close());
      servers.push(server);
    }
    for (const address of qmp) {
      const server = await QmpServer.listen(address, context, this.#log);
      this.#undo.push(() => server.close());
      servers.push(server);
    }
    for (const address of this.#options.metrics) {
      const server = await MetricsServer.listen(address, vm);
      this.#undo.push(() => server.close());
    }
    await this.#publish(context);
    return servers;
  }

  /** Serves those who find the VM by its name. */
  async #publish(context: CommandContext & { readonly vm: VirtualMachine }): Promise<void> {
    const registration = this.#registration;
    if (registration === undefined) return;
    const qmp = registration.path("qmp.sock");
    const control = await QmpServer.listen({ kind: "unix", path: qmp, wait: false }, context, this.#log);
    this.#undo.push(() => control.close());
    const metrics = registration.path("metrics.sock");
    const server = await MetricsServer.listen({ kind: "unix", path: metrics }, context.vm);
    this.#undo.push(() => server.close());
    const backend = this.#serialBackend();
    registration.publish({ qmp, metrics, ...(backend?.kind === "unix" && { console: resolve(backend.path) }) });
  }

  /** Where the serial port goes, with the socket for `baton console` in its place. */
  #serialBackend(): ChardevOption | undefined {
    const { serial } = this.#options;
    const registration = this.#registration;
    if (serial === undefined || !("attachable" in serial)) return serialBackend(this.#options);
    return registration && { kind: "unix", path: registration.path("console.sock") };
  }

  #devices(): readonly DeviceDescription[] {
    const options = this.#options;
    const backend = this.#serialBackend();
    const label = options.serial && "chardev" in options.serial ? { label: options.serial.chardev } : {};
    const console = backend === undefined ? [] : [serial({ backend: this.#backend(backend), ...label })];
    const chardevs = new Map(options.chardevs);
    for (const id of portChardevs(options)) {
      const backend = chardevs.get(id);
      if (backend !== undefined) chardevs.set(id, this.#backend(backend));
    }
    return [...console, ...deviceConfigs({ ...options, chardevs })];
  }

  /** The back end, with the terminal's descriptors for `stdio`. */
  #backend(backend: ChardevOption): ChardevBackend {
    if (backend.kind !== "stdio") return backend;
    const terminal = new ConsoleTerminal({
      quit: () => this.#quit("host-ui"),
      togglePause: () => {
        const vm = this.#vm;
        const work = vm?.runState === "running" ? vm.pause() : vm?.resume();
        work?.catch((error: unknown) => this.#log.error(BatonError.from(error, "CONSOLE").message));
      },
    });
    this.#undo.push(() => terminal.close());
    return { kind: "fd", outputFd: terminal.outputFd, inputFd: terminal.inputFd };
  }

  /** Signals end the VM in order, and so does an error in this program that nobody caught. */
  #catchEnds(): () => void {
    const onSignal = () => this.#quit("host-signal");
    const onCrash = (error: unknown) => {
      const text = error instanceof Error ? error.stack : String(error);
      const crash = new BatonError("INTERNAL_ERROR", `an error in baton itself: ${text}`, { cause: error });
      this.#logError(crash);
      this.#end({ reason: "internal-error", cause: "host-error", error: crash });
    };
    const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, onSignal);
    process.on("uncaughtException", onCrash);
    return () => {
      for (const signal of signals) process.off(signal, onSignal);
      process.off("uncaughtException", onCrash);
    };
  }

  /** Undoes everything in reverse order; where a step does not come to its end, the others are still done. */
  async #cleanUp(): Promise<void> {
    let stuck = false;
    for (const step of this.#undo.reverse()) {
      try {
        stuck = !(await inTime(step)) || stuck;
      } catch (error) {
        this.#log.warn(`cleaning up: ${BatonError.from(error, "CLEAN_UP").message}`);
      }
    }
    if (!stuck) return;
    this.#log.error("cleaning up takes too long; leaving without it");
    exitImmediately(exitCode.internalError);
  }
}

/** Says where the pseudo-terminals of virtio ports are. */
async function announcePorts(vm: VirtualMachine): Promise<void> {
  for (const device of vm.machine.virtio.devices) {
    if (device.description.model !== "virtio-console") continue;
    for (const { id, filename } of (await device.command("ports")) as ConsolePortInfo[]) {
      const path = /^pty:(.*)$/.exec(filename)?.[1];
      if (path !== undefined) process.stderr.write(`port ${id} on ${path}\n`);
    }
  }
}

/** Whether the work was done before the time was up. */
async function inTime(work: () => void | Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), CLOSE_TIMEOUT_MS);
  });
  try {
    return await Promise.race([Promise.resolve(work()).then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
