import type { Service, ServiceContext } from "@baton/core-kvm";
import { setIrqLine } from "@baton/core-kvm";
import { CharChannel, type CharEndpoint } from "@baton/devices-virtio";
import { drainEventfd, EAGAIN, EPOLLIN, timerfdCreate, timerfdSettime } from "@baton/linux";
import { Uart16550 } from "../../platform/uart-16550.js";

/** What a console's service in a device thread is told. */
export interface ChardevServiceOptions {
  readonly shared: SharedArrayBuffer;
  readonly gsi: number;
  readonly vmFd: number;
  /** Signalled by vCPU threads: there is output; there is room for input. */
  readonly outputEventfd: number;
  readonly inputEventfd: number;
  /** Where output goes and input comes from. */
  readonly endpoint: CharEndpoint;
}

/** Bytes moved at once. */
const CHUNK = 4096;
/** How long the reader stays awake after it has written everything. */
const LINGER_NS = 1_000_000n;

/** Moves bytes between a serial port's rings and its back end, in a device thread. */
export function chardevService(context: ServiceContext): Service {
  return new ChardevService(context, context.options as ChardevServiceOptions);
}

class ChardevService implements Service {
  readonly #uart: Uart16550;
  readonly #channel: CharChannel;
  readonly #buffer = new Uint8Array(CHUNK);
  /** Fires when the output has been empty for a moment. */
  readonly #linger = timerfdCreate();
  /** Input that has been read and has not fitted into the guest's FIFO. */
  #pending = new Uint8Array(0);
  readonly #endWatches: readonly (() => void)[];

  constructor(context: ServiceContext, options: ChardevServiceOptions) {
    this.#uart = new Uart16550(options.shared, {
      policy: "drop",
      setIrq: (level) => setIrqLine(options.vmFd, options.gsi, level),
      wakeReader: () => {},
      inputWanted: () => {},
    });
    this.#channel = new CharChannel(context, options.endpoint, {
      onReadable: () => this.#read(),
      onWritable: () => this.#write(),
      onConnection: (connected) => this.#onConnection(context, connected),
    });
    this.#endWatches = [
      context.watch(options.outputEventfd, EPOLLIN, () => {
        drainEventfd(options.outputEventfd);
        this.#write();
      }),
      context.watch(options.inputEventfd, EPOLLIN, () => {
        drainEventfd(options.inputEventfd);
        this.#feed();
      }),
      context.watch(this.#linger.raw, EPOLLIN, () => this.#settle()),
    ];
    this.#feed();
    this.#write();
  }

  close(): void {
    this.#write();
    for (const end of this.#endWatches) end();
    this.#channel.close();
    this.#linger.close();
  }

  /** Writes what the guest has sent. When all is written it stays awake for a moment, since guests send byte by byte. */
  #write(): void {
    const ring = this.#uart.output;
    for (let bytes = ring.peek(CHUNK); bytes.length > 0; bytes = ring.peek(CHUNK)) {
      const written = this.#channel.write(bytes);
      if (written === -EAGAIN) return;
      ring.consume(written);
    }
    timerfdSettime(this.#linger, { value: LINGER_NS });
  }

  #settle(): void {
    drainEventfd(this.#linger);
    if (this.#uart.output.length > 0 || !this.#uart.sleepReader()) this.#write();
  }

  #read(): void {
    const count = this.#channel.read(this.#buffer);
    if (count === 0) return;
    this.#pending = this.#buffer.slice(0, count);
    this.#feed();
  }

  /** Hands input to the guest; what does not fit waits, and no more is read until it has been taken. */
  #feed(): void {
    if (this.#pending.length > 0) this.#pending = this.#pending.slice(this.#uart.receive(this.#pending));
    this.#channel.setInput(this.#pending.length > 0 ? "held" : "taken");
  }

  #onConnection(context: ServiceContext, connected: boolean): void {
    context.emit({ name: connected ? "connected" : "disconnected" });
    // What nobody waits for any more is not typed into the next one's session.
    if (!connected) this.#pending = new Uint8Array(0);
    this.#feed();
    this.#write();
  }
}
