import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { DeviceThread, type ServiceHandle } from "@baton/core-kvm";
import { type OpenedChardev, type OpenOrFind, openChardev } from "@baton/devices-virtio";
import { type BatonError, eventfd, type Fd, signalEventfd } from "@baton/linux";
import type { ConsoleBackend, SerialDevice } from "../../config.js";
import type { Machine } from "../../machine/machine.js";
import { microvmLayout } from "../../machine/microvm.js";
import type { Uart16550 } from "../../platform/uart-16550.js";
import type { ChardevServiceOptions } from "./service.js";

const here = createRequire(import.meta.url);

/**
 * How long the reader of a serial port's output stays awake after it has taken everything: guests send byte by byte, and
 * to be woken for each would cost them more than the byte.
 */
const LINGER_MS = 2;
/** The serial port's id among descriptors and, unless it has another, its label. */
const SERIAL_ID = "serial0";
/** How long {@link ConsolePort.flush} waits for a descriptor that does not take what is written. */
const FLUSH_TIMEOUT_MS = 100;

/** A serial port's back end: made before the machine, attached to it, and closed after it. */
export class ConsolePort {
  readonly backend: ConsoleBackend;
  readonly policy: "wait" | "drop";
  /** The back end's name in queries. */
  readonly label: string;
  readonly #chardev: OpenedChardev | undefined;
  readonly #output: Fd | undefined;
  readonly #input: Fd | undefined;
  #handle: ServiceHandle | undefined;
  #drainStream: (() => void) | undefined;
  #detachStream: (() => void) | undefined;
  #uart: Uart16550 | undefined;
  #thread: DeviceThread | undefined;
  #closed = false;

  private constructor(device: SerialDevice, chardev: OpenedChardev | undefined) {
    this.backend = device.backend;
    this.policy = device.policy;
    this.label = device.label ?? SERIAL_ID;
    this.#chardev = chardev;
    if (chardev === undefined) return;
    this.#output = eventfd({ nonblock: true });
    this.#input = eventfd({ nonblock: true });
  }

  /** Opens what the back end needs. Errors name its path: `CHARDEV_OPEN`, `SOCKET_IN_USE`, `SOCKET_PATH`. */
  static open(device: SerialDevice, openOrFind?: OpenOrFind): ConsolePort {
    const { backend } = device;
    return new ConsolePort(device, backend.kind === "stream" ? undefined : openChardev(SERIAL_ID, backend, openOrFind));
  }

  /** The pseudo-terminal's path, for `pty`. */
  get path(): string | undefined {
    return this.#chardev?.path;
  }

  /** What the back end stands on, in QEMU's words. */
  get filename(): string {
    return this.#chardev?.filename ?? "stream";
  }

  /** How the machine's serial port wakes this back end. */
  get uart(): { readonly policy: "wait" | "drop"; readonly outputFd: number; readonly inputFd: number } {
    return { policy: this.policy, outputFd: this.#output?.raw ?? -1, inputFd: this.#input?.raw ?? -1 };
  }

  /** Starts to serve a machine's serial port. */
  async attach(machine: Machine): Promise<void> {
    this.#uart = machine.uart();
    if (this.#chardev === undefined) {
      this.#attachStream(machine);
      return;
    }
    const options: ChardevServiceOptions = {
      shared: machine.platform.uart,
      gsi: microvmLayout.com1.gsi,
      vmFd: machine.vm.fd.raw,
      outputEventfd: this.uart.outputFd,
      inputEventfd: this.uart.inputFd,
      endpoint: this.#chardev.endpoint,
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
    this.#output?.close();
    this.#input?.close();
    this.#chardev?.close();
  }
}
