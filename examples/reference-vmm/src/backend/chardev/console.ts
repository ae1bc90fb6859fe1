import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { DeviceThread, type ServiceHandle } from "@baton/core-kvm";
import {
  BatonError,
  eventfd,
  type Fd,
  O_APPEND,
  O_CREAT,
  O_NOCTTY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  open,
  openPty,
  setNonblocking,
  unlink,
} from "@baton/linux";
import type { ConsoleBackend, SerialDevice } from "../../config.js";
import type { Machine } from "../../machine/machine.js";
import { microvmLayout } from "../../machine/microvm.js";
import { listenUnix } from "../unix-listener.js";
import type { ChardevServiceOptions } from "./service.js";

const here = createRequire(import.meta.url);

/** A serial port's back end: made before the machine, attached to it, and closed after it. */
export class ConsolePort {
  readonly backend: ConsoleBackend;
  readonly policy: "wait" | "drop";
  /** The pseudo-terminal's path, for `pty`. */
  readonly path: string | undefined;
  readonly #fds: Fd[];
  readonly #output: Fd | undefined;
  readonly #input: Fd | undefined;
  readonly #service: { readonly outputFd: number; readonly inputFd: number; readonly listenFd: number } | undefined;
  #handle: ServiceHandle | undefined;
  #detachStream: (() => void) | undefined;
  #thread: DeviceThread | undefined;
  #closed = false;

  private constructor(
    device: SerialDevice,
    parts: { fds: Fd[]; service?: { outputFd: number; inputFd: number; listenFd: number }; path?: string },
  ) {
    this.backend = device.backend;
    this.policy = device.policy;
    this.path = parts.path;
    this.#fds = parts.fds;
    this.#service = parts.service;
    if (parts.service !== undefined) {
      this.#output = eventfd({ nonblock: true });
      this.#input = eventfd({ nonblock: true });
      this.#fds.push(this.#output, this.#input);
    }
  }

  /** Opens what the back end needs. Errors name its path: `CHARDEV_OPEN`, `SOCKET_IN_USE`. */
  static open(device: SerialDevice): ConsolePort {
    const { backend } = device;
    const service = (outputFd: number, inputFd = -1, listenFd = -1) => ({ outputFd, inputFd, listenFd });
    switch (backend.kind) {
      case "stream":
        return new ConsolePort(device, { fds: [] });
      case "null":
        return new ConsolePort(device, { fds: [], service: service(-1) });
      case "fd":
        return new ConsolePort(device, { fds: [], service: service(backend.outputFd, backend.inputFd ?? -1) });
      case "file": {
        const flags = O_WRONLY | O_CREAT | (backend.append ? O_APPEND : O_TRUNC);
        const fd = opening(`file ${backend.path}`, () => open(backend.path, flags, 0o600));
        return new ConsolePort(device, { fds: [fd], service: service(fd.raw) });
      }
      case "unix": {
        const fd = opening(`socket ${backend.path}`, () => listenUnix(backend.path));
        return new ConsolePort(device, { fds: [fd], service: service(-1, -1, fd.raw) });
      }
      case "pty": {
        const { master, slavePath } = openPty();
        setNonblocking(master, true);
        const slave = open(slavePath, O_RDWR | O_NOCTTY);
        return new ConsolePort(device, {
          fds: [master, slave],
          service: service(master.raw, master.raw),
          path: slavePath,
        });
      }
      default:
        return backend satisfies never;
    }
  }

  /** How the machine's serial port wakes this back end. */
  get uart(): { readonly policy: "wait" | "drop"; readonly outputFd: number; readonly inputFd: number } {
    return { policy: this.policy, outputFd: this.#output?.raw ?? -1, inputFd: this.#input?.raw ?? -1 };
  }

  /** Starts to serve a machine's serial port. */
  async attach(machine: Machine): Promise<void> {
    if (this.#service === undefined) {
      this.#attachStream(machine);
      return;
    }
    const options: ChardevServiceOptions = {
      shared: machine.platform.uart,
      gsi: microvmLayout.com1.gsi,
      vmFd: machine.vm.fd.raw,
      outputEventfd: this.uart.outputFd,
      inputEventfd: this.uart.inputFd,
      ...this.#service,
    };
    this.#thread = await DeviceThread.shared();
    const module = pathToFileURL(here.resolve("@baton/reference-vmm/chardev")).href;
    this.#handle = await this.#thread.serve({ module, factory: "chardevService", options });
  }

  #attachStream(machine: Machine): void {
    if (this.backend.kind !== "stream") return;
    const { output, input, onOutput } = this.backend;
    const uart = machine.uart();
    let blocked = false;
    const drain = () => {
      while (!blocked) {
        const bytes = uart.output.peek();
        if (bytes.length === 0) {
          if (uart.sleepReader()) return;
          continue;
        }
        uart.output.consume(bytes.length);
        onOutput?.(bytes);
        if (output !== undefined && !output.destroyed && !output.write(bytes)) {
          blocked = true;
          output.once("drain", () => {
            blocked = false;
            drain();
          });
        }
      }
    };
    let waiting = Buffer.alloc(0);
    const feed = () => {
      waiting = waiting.subarray(uart.receive(waiting));
      if (waiting.length === 0) input?.resume();
      else input?.pause();
    };
    const onData = (chunk: Buffer | string) => {
      waiting = Buffer.concat([waiting, Buffer.from(chunk)]);
      feed();
    };
    input?.on("data", onData);
    machine.onUartOutput = drain;
    const threads = machine.vcpus.threads;
    const onDevice = (event: { device: string; name: string }) => {
      if (event.device !== "serial0") return;
      if (event.name === "output") drain();
      else if (event.name === "input-wanted") feed();
    };
    for (const thread of threads) thread.on("device", onDevice);
    this.#detachStream = () => {
      drain();
      input?.off("data", onData);
      for (const thread of threads) thread.off("device", onDevice);
    };
    drain();
  }

  /** Stops serving the machine; what the guest had sent is written first. */
  async detach(): Promise<void> {
    this.#detachStream?.();
    this.#detachStream = undefined;
    await this.#handle?.close();
    this.#handle = undefined;
    await this.#thread?.release();
    this.#thread = undefined;
  }

  /** Closes and removes what was opened. May be called again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.detach();
    for (const fd of this.#fds) fd.close();
    if (this.backend.kind === "unix") unlink(this.backend.path);
  }
}

function opening<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (BatonError.is(error) && error.code !== "SYSCALL_FAILED") throw error;
    throw new BatonError("CHARDEV_OPEN", `Cannot open ${what}: ${BatonError.from(error, "CHARDEV_OPEN").message}`, {
      cause: error,
    });
  }
}
