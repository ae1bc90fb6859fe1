import { BatonError } from "@baton/linux";
import type { ConsoleBackend, DeviceDescription } from "../config.js";
import { serial } from "../config.js";
import { createVm } from "../create-vm.js";
import { optionError } from "../options/grammar.js";
import type { ChardevOption, VmmOptions } from "../options/options.js";
import { vmConfig } from "../options/vm-config.js";
import { QmpServer } from "../surface/qmp/server.js";
import type { VirtualMachine, VmOutcome } from "../virtual-machine.js";
import { announceReady, isDaemonChild, spawnDaemon } from "./daemonize.js";
import { exitCodeOf } from "./exit-code.js";
import { createLogger, type Logger } from "./logger.js";
import { writePidfile } from "./pidfile.js";
import { ConsoleTerminal } from "./terminal.js";

/** How long a clean end may take before the process leaves without it. */
const CLOSE_TIMEOUT_MS = 1000;

/** Runs a VM as the command line asks; resolves to the exit code when it has ended and everything is cleaned up. */
export async function runVmm(options: VmmOptions): Promise<number> {
  const usesStdio = serialBackend(options)?.kind === "stdio" || options.qmp.some((address) => address.kind === "stdio");
  if (options.daemonize) {
    if (usesStdio) throw optionError("daemonize", "cannot be used with a console or QMP on stdio");
    if (!isDaemonChild()) return spawnDaemon();
  }
  return new Vmm(options, createLogger(options.logFile)).run();
}

/** The back end of the serial port, with `chardev:ID` looked up. */
function serialBackend(options: VmmOptions): ChardevOption | undefined {
  if (options.serial === undefined) return undefined;
  if ("backend" in options.serial) return options.serial.backend;
  const backend = options.chardevs.get(options.serial.chardev);
  if (backend === undefined) throw optionError("serial", `there is no chardev '${options.serial.chardev}'`);
  return backend;
}

/** One run of the program: the VM with its surfaces, in the order in which they come up, and down again. */
class Vmm {
  readonly #options: VmmOptions;
  readonly #log: Logger;
  readonly #undo: (() => void | Promise<void>)[] = [];
  #vm: VirtualMachine | undefined;
  #quit: (reason: "host-signal" | "host-ui" | "host-qmp-quit") => void = () => {};

  constructor(options: VmmOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  async run(): Promise<number> {
    const removeSignals = this.#catchSignals();
    try {
      const outcome = await this.#runVm();
      return exitCodeOf(outcome);
    } finally {
      await this.#cleanUp();
      removeSignals();
    }
  }

  async #runVm(): Promise<VmOutcome> {
    const options = this.#options;
    const abort = new AbortController();
    const quit = new Promise<VmOutcome>((resolve) => {
      this.#quit = (reason) => {
        abort.abort(new BatonError("INTERRUPTED", "Interrupted before the VM was set up"));
        resolve({ reason: "shutdown", cause: reason });
      };
    });
    if (options.pidfile !== undefined) this.#undo.push(writePidfile(options.pidfile));
    const vm = await createVm({ ...vmConfig(options), devices: this.#devices() }, { signal: abort.signal });
    this.#vm = vm;
    this.#undo.push(() => vm.close());
    vm.onEvent((event) => {
      if (event.type === "internal-error") this.#log.error(event.error.message);
      else if (event.type === "run-state") this.#log.info(`run state: ${event.from} -> ${event.to}`);
    });
    if (vm.consolePath !== undefined) process.stderr.write(`serial port on ${vm.consolePath}\n`);
    const servers = await this.#listen(vm);
    if (options.daemonize) announceReady();
    await Promise.race([Promise.all(servers.map((server) => server.connected)), quit]);
    if (!options.startPaused && !abort.signal.aborted) await vm.start();
    let outcome = await Promise.race([vm.wait(), quit]);
    if (this.#staysPaused(outcome)) outcome = await quit;
    if (outcome.reason === "internal-error") this.#log.error(outcome.error?.message ?? "the VM stopped on an error");
    if (outcome.cause === "host-signal" || outcome.cause === "host-ui") await vm.shutdown(outcome.cause);
    return outcome;
  }

  /** Whether the VM is left as it is for someone to look at, as QEMU leaves it. */
  #staysPaused(outcome: VmOutcome): boolean {
    const { policy } = this.#options;
    if (outcome.reason === "panic") return policy.onPanic === "pause";
    return outcome.reason === "internal-error" && policy.onShutdown === "pause";
  }

  /** Servers are closed before the VM is, so that their last events are still sent. */
  async #listen(vm: VirtualMachine): Promise<QmpServer[]> {
    const servers: QmpServer[] = [];
    for (const address of this.#options.qmp) {
      const context = { vm, quit: () => this.#quit("host-qmp-quit") };
      const server = await QmpServer.listen(address, context, this.#log);
      this.#undo.push(() => server.close());
      servers.push(server);
    }
    return servers;
  }

  #devices(): readonly DeviceDescription[] {
    const backend = serialBackend(this.#options);
    return backend === undefined ? [] : [serial({ backend: this.#consoleBackend(backend) })];
  }

  #consoleBackend(backend: ChardevOption): ConsoleBackend {
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
    return { kind: "fd", outputFd: 1, inputFd: terminal.inputFd };
  }

  #catchSignals(): () => void {
    const onSignal = () => this.#quit("host-signal");
    const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, onSignal);
    return () => {
      for (const signal of signals) process.off(signal, onSignal);
    };
  }

  async #cleanUp(): Promise<void> {
    const timer = setTimeout(() => {
      this.#log.error("cleaning up takes too long; leaving without it");
      process.exit(1);
    }, CLOSE_TIMEOUT_MS * 5);
    for (const step of this.#undo.reverse()) {
      try {
        await step();
      } catch (error) {
        this.#log.warn(`cleaning up: ${BatonError.from(error, "CLEAN_UP").message}`);
      }
    }
    clearTimeout(timer);
  }
}
