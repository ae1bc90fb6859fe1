import type { Service, ServiceContext } from "@baton/core-kvm";
import { setIrqLine } from "@baton/core-kvm";
import {
  accept,
  drainEventfd,
  dupFd,
  EAGAIN,
  EPERM,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  type Fd,
  timerfdCreate,
  timerfdSettime,
  tryRead,
  tryWrite,
} from "@baton/linux";
import { Uart16550 } from "../../platform/uart-16550.js";

/** What a console's service in a device thread is told. */
export interface ChardevServiceOptions {
  readonly shared: SharedArrayBuffer;
  readonly gsi: number;
  readonly vmFd: number;
  /** Signalled by vCPU threads: there is output; there is room for input. */
  readonly outputEventfd: number;
  readonly inputEventfd: number;
  /** Where output goes and input comes from; -1 for nowhere. */
  readonly outputFd: number;
  readonly inputFd: number;
  /** A listening socket whose clients take the place of both; -1 for none. */
  readonly listenFd: number;
}

/** Bytes written at once: what a pipe that polls as writable takes without blocking. */
const CHUNK = 4096;
/** How long the reader stays awake after it has written everything. */
const LINGER_NS = 1_000_000n;

/** Moves bytes between a serial port's rings and descriptors, in a device thread. */
export function chardevService(context: ServiceContext): Service {
  const options = context.options as ChardevServiceOptions;
  return new ChardevService(context, options);
}

class ChardevService implements Service {
  readonly #context: ServiceContext;
  readonly #options: ChardevServiceOptions;
  readonly #uart: Uart16550;
  readonly #buffer = new Uint8Array(CHUNK);
  /** Fires when the output has been empty for a moment. */
  readonly #linger = timerfdCreate();
  #client: Fd | undefined;
  #pending = new Uint8Array(0);
  #endOutputWatch: (() => void) | undefined;
  #endInputWatch: (() => void) | undefined;
  readonly #endWatches: (() => void)[] = [];

  constructor(context: ServiceContext, options: ChardevServiceOptions) {
    this.#context = context;
    this.#options = options;
    this.#uart = new Uart16550(options.shared, {
      policy: "drop",
      setIrq: (level) => setIrqLine(options.vmFd, options.gsi, level),
      wakeReader: () => {},
      inputWanted: () => {},
    });
    this.#endWatches.push(
      context.watch(options.outputEventfd, EPOLLIN, () => {
        drainEventfd(options.outputEventfd);
        this.#write();
      }),
      context.watch(options.inputEventfd, EPOLLIN, () => {
        drainEventfd(options.inputEventfd);
        this.#feed();
      }),
    );
    this.#endWatches.push(context.watch(this.#linger.raw, EPOLLIN, () => this.#settle()));
    if (options.listenFd >= 0) this.#endWatches.push(context.watch(options.listenFd, EPOLLIN, () => this.#accept()));
    if (options.inputFd >= 0) this.#watchInput();
    this.#write();
  }

  get #outputFd(): number {
    return this.#client?.raw ?? this.#options.outputFd;
  }

  get #inputFd(): number {
    return this.#client?.raw ?? this.#options.inputFd;
  }

  /**
   * Writes what the guest has sent; where the descriptor would block, waits for it with epoll. When all is written it
   * stays awake for a moment, since guests send byte by byte.
   */
  #write(): void {
    const ring = this.#uart.output;
    for (let bytes = ring.peek(CHUNK); bytes.length > 0; bytes = ring.peek(CHUNK)) {
      const fd = this.#outputFd;
      const written = fd < 0 ? bytes.length : tryWrite(fd, bytes);
      if (written === -EAGAIN) {
        this.#endOutputWatch ??= this.#watchOutput(fd);
        return;
      }
      if (written < 0) this.#lostPeer();
      ring.consume(written < 0 ? bytes.length : written);
    }
    this.#endOutputWatch?.();
    this.#endOutputWatch = undefined;
    timerfdSettime(this.#linger, { value: LINGER_NS });
  }

  #settle(): void {
    drainEventfd(this.#linger);
    if (this.#uart.output.length > 0 || !this.#uart.sleepReader()) this.#write();
  }

  #accept(): void {
    const client = accept(this.#options.listenFd, { nonblock: true });
    if (client === null) return;
    if (this.#client !== undefined) {
      client.close();
      return;
    }
    this.#client = client;
    this.#watchInput();
    this.#context.emit({ name: "connected" });
  }

  #watchInput(): void {
    this.#endInputWatch = this.#watch(this.#inputFd, EPOLLIN, (events) => this.#read(events));
  }

  #read(events: number): void {
    if (this.#pending.length > 0) return;
    const count = tryRead(this.#inputFd, this.#buffer);
    if (count === -EAGAIN) return;
    if (count <= 0 || (events & (EPOLLHUP | EPOLLERR) && (events & EPOLLIN) === 0)) {
      this.#lostPeer();
      return;
    }
    this.#pending = this.#buffer.slice(0, count);
    this.#feed();
  }

  /** Hands input to the guest; what does not fit waits, and the descriptor is not read until it has been taken. */
  #feed(): void {
    if (this.#pending.length === 0) return;
    const taken = this.#uart.receive(this.#pending);
    this.#pending = this.#pending.slice(taken);
    if (this.#pending.length > 0) {
      this.#endInputWatch?.();
      this.#endInputWatch = undefined;
    } else if (this.#endInputWatch === undefined && this.#inputFd >= 0) this.#watchInput();
  }

  #lostPeer(): void {
    this.#endInputWatch?.();
    this.#endInputWatch = undefined;
    this.#endOutputWatch?.();
    this.#endOutputWatch = undefined;
    this.#client?.close();
    if (this.#client !== undefined) this.#context.emit({ name: "disconnected" });
    this.#client = undefined;
  }

  /** Watches a duplicate, since epoll takes a descriptor that is watched for input only once. */
  #watchOutput(fd: number): () => void {
    const duplicate = dupFd(fd);
    const end = this.#watch(duplicate.raw, EPOLLOUT, () => this.#write());
    return () => {
      end();
      duplicate.close();
    };
  }

  /** Watches a descriptor; regular files, which epoll refuses, are never blocked and need no watch. */
  #watch(fd: number, events: number, onReady: (events: number) => void): () => void {
    try {
      return this.#context.watch(fd, events, onReady);
    } catch (error) {
      if ((error as { errno?: number }).errno === EPERM) return () => {};
      throw error;
    }
  }

  close(): void {
    this.#write();
    this.#lostPeer();
    for (const end of this.#endWatches) end();
    this.#linger.close();
  }
}
