import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { DeviceThread, type ServiceHandle } from "@baton/core-kvm";
import {
  BatonError,
  eventfd,
  type Fd,
  makeRaw,
  O_APPEND,
  O_CREAT,
  O_NOCTTY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  open,
  openPty,
  setNonblocking,
  signalEventfd,
} from "@baton/linux";
import type { ConsoleBackend, SerialDevice } from "../../config.js";
import type { Machine } from "../../machine/machine.js";
import { microvmLayout } from "../../machine/microvm.js";
import type { Uart16550 } from "../../platform/uart-16550.js";
import { openUnixListener } from "../unix-listener.js";
import type { ChardevServiceOptions } from "./service.js";

const here = createRequire(import.meta.url);

/**
 * How long the reader of a serial port's output stays awake after it has taken everything: guests send byte by byte, and
 * to be woken for each would cost them more than the byte.
 */
const LINGER_MS = 2;
/** How long {@link ConsolePort.flush} waits for a descriptor that does not take what is written. */
const FLUSH_TIMEOUT_MS = 100;

/** The descriptors that the back end's service reads and writes; -1 for none. */
interface ServiceFds {
  readonly outputFd: number;
  readonly inputFd: number;
  readonly listenFd: number;
  readonly pty: boolean;
}

/** What {@link ConsolePort.open} has opened. */
interface ConsoleParts {
  readonly fds: Fd[];
  readonly service?: ServiceFds;
  readonly path?: string;
  readonly removeFile?: () => void;
}

/** A serial port's back end: made before the machine, attached to it, and closed after it. */
export class ConsolePort {
  readonly backend: ConsoleBackend;
  readonly policy: "wait" | "drop";
  /** The pseudo-terminal's path, for `pty`. */
  readonly path: string | undefined;
  readonly #fds: Fd[];
  readonly #output: Fd | undefined;
  readonly #input: Fd | undefined;
  readonly #service: ServiceFds | undefined;
  readonly #removeFile: (() => void) | undefined;
  #handle: ServiceHandle | undefined;
  #drainStream: (() => void) | undefined;
  #detachStream: (() => void) | undefined;
  #uart: Uart16550 | undefined;
  #thread: DeviceThread | undefined;
  #closed = false;

  private constructor(device: SerialDevice, parts: ConsoleParts) {
    this.backend = device.backend;
    this.policy = device.policy;
    this.path = parts.path;
    this.#fds = parts.fds;
    this.#service = parts.service;
    this.#removeFile = parts.removeFile;
    if (parts.service !== undefined) {
      this.#output = eventfd({ nonblock: true });
      this.#input = eventfd({ nonblock: true });
      this.#fds.push(this.#output, this.#input);
    }
  }

  /** Opens what the back end needs. Errors name its path: `CHARDEV_OPEN`, `SOCKET_IN_USE`. */
  static open(device: SerialDevice): ConsolePort {
    const { backend } = device;
    const service = (outputFd: number, inputFd = -1, listenFd = -1): ServiceFds => {
      return { outputFd, inputFd, listenFd, pty: false };
    };
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
        const { fd, removeFile } = opening(`socket ${backend.path}`, () => openUnixListener(backend.path));
        return new ConsolePort(device, { fds: [fd], service: service(-1, -1, fd.raw), removeFile });
      }
      case "pty": {
        const { master, path } = openRawPty();
        return new ConsolePort(device, {
          fds: [master],
          service: { ...service(master.raw, master.raw), pty: true },
          path,
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
    this.#uart = machine.uart();
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
    const failed = (error: BatonError) => machine.vcpus.threads[0]?.emit("failed", error);
    this.#handle = await this.#thread.serve({ module, factory: "chardevService", options }, { onFailed: failed });
  }

  #attachStream(machine: Machine): void {
    if (this.backend.kind !== "stream") return;
    const { output, input, onOutput } = this.backend;
    const uart = machine.uart();
    let blocked = false;
    let lingering: NodeJS.Timeout | undefined;
    const drain = () => {
      clearTimeout(lingering);
      let bytes = uart.output.peek();
      while (!blocked && bytes.length > 0) {
        uart.output.consume(bytes.length);
        onOutput?.(bytes);
        if (output !== undefined && !output.destroyed && !output.write(bytes)) {
          blocked = true;
          output.once("drain", () => {
            blocked = false;
            drain();
          });
        }
        bytes = uart.output.peek();
      }
      if (!blocked) lingering = setTimeout(settle, LINGER_MS);
    };
    const settle = () => {
      if (uart.output.length > 0 || !uart.sleepReader()) drain();
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
    this.#drainStream = drain;
    const threads = machine.vcpus.threads;
    const onDevice = (event: { device: string; name: string }) => {
      if (event.device !== "serial0") return;
      if (event.name === "output") drain();
      else if (event.name === "input-wanted") feed();
    };
    for (const thread of threads) thread.on("device", onDevice);
    this.#detachStream = () => {
      drain();
      clearTimeout(lingering);
      input?.off("data", onData);
      for (const thread of threads) thread.off("device", onDevice);
    };
    drain();
  }

  /**
   * With the vCPUs paused: hands over what the guest has sent so far, so that nobody learns of its end before its last
   * words. A reader that blocks is not waited for.
   */
  async flush(): Promise<void> {
    this.#drainStream?.();
    if (this.#output === undefined || this.#uart === undefined) return;
    signalEventfd(this.#output);
    const deadline = performance.now() + FLUSH_TIMEOUT_MS;
    while (this.#uart.output.length > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
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
    this.#removeFile?.();
  }
}

/** A pseudo-terminal that passes every byte as it is; its other side is closed until somebody opens it. */
function openRawPty(): { readonly master: Fd; readonly path: string } {
  const { master, slavePath } = openPty();
  try {
    setNonblocking(master, true);
    using slave = open(slavePath, O_RDWR | O_NOCTTY);
    makeRaw(slave);
    return { master, path: slavePath };
  } catch (error) {
    master.close();
    throw error;
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
