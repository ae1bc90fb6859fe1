import type { Service, ServiceContext } from "@baton/core-kvm";
import { setIrqLine } from "@baton/core-kvm";
import {
  accept,
  drainEventfd,
  dupFd,
  EAGAIN,
  EINTR,
  EIO,
  EPERM,
  EPOLLIN,
  EPOLLOUT,
  type Fd,
  POLLHUP,
  POLLOUT,
  poll,
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
  /** Whether both are the master of a pseudo-terminal, whose other side comes and goes; output is dropped meanwhile. */
  readonly pty: boolean;
}

/** Bytes written at once: what a pipe that polls as writable takes without blocking. */
const CHUNK = 4096;
/** How long the reader stays awake after it has written everything. */
const LINGER_NS = 1_000_000n;
/** How often it looks whether somebody has opened the other side of a pseudo-terminal. */
const PTY_POLL_NS = 100_000_000n;

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
  /** Fires while the other side of the pseudo-terminal is closed. */
  readonly #reopened: Fd | undefined;
  #client: Fd | undefined;
  /** Input that has been read and has not fitted into the guest's FIFO. */
  #pending = new Uint8Array(0);
  #outputLost = false;
  #inputEnded = false;
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
      context.watch(this.#linger.raw, EPOLLIN, () => this.#settle()),
    );
    if (options.pty) {
      this.#reopened = timerfdCreate();
      this.#endWatches.push(context.watch(this.#reopened.raw, EPOLLIN, () => this.#lookForPeer()));
    }
    if (options.listenFd >= 0) this.#endWatches.push(context.watch(options.listenFd, EPOLLIN, () => this.#accept()));
    this.#feed();
    this.#write();
  }

  get #outputFd(): number {
    return this.#client?.raw ?? (this.#outputLost ? -1 : this.#options.outputFd);
  }

  get #inputFd(): number {
    return this.#client?.raw ?? (this.#inputEnded ? -1 : this.#options.inputFd);
  }

  /**
   * Writes what the guest has sent; where the descriptor would block, waits for it with epoll. When all is written it
   * stays awake for a moment, since guests send byte by byte.
   */
  #write(): void {
    const ring = this.#uart.output;
    for (let bytes = ring.peek(CHUNK); bytes.length > 0; bytes = ring.peek(CHUNK)) {
      const fd = this.#outputFd;
      const written = fd < 0 ? bytes.length : this.#tryWrite(fd, bytes);
      if (written === -EAGAIN) {
        this.#endOutputWatch ??= this.#watchOutput(fd);
        return;
      }
      if (written < 0) this.#lostOutput();
      else ring.consume(written);
    }
    this.#stopWaitingForRoom();
    timerfdSettime(this.#linger, { value: LINGER_NS });
  }

  /** Asks first, since a descriptor that others share need not be non-blocking. */
  #tryWrite(fd: number, bytes: Uint8Array): number {
    const events = poll([{ fd, events: POLLOUT }], 0)[0] as number;
    if (this.#options.pty && (events & POLLHUP) !== 0) return bytes.length;
    if (events === 0) return -EAGAIN;
    const written = tryWrite(fd, bytes);
    return written === -EINTR ? 0 : written;
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
    this.#context.emit({ name: "connected" });
    this.#feed();
  }

  /** Reads until the guest's FIFO is full or there is no more; -EAGAIN ends it, and epoll begins it again. */
  #read(): void {
    const fd = this.#inputFd;
    const count = fd < 0 ? -EAGAIN : tryRead(fd, this.#buffer);
    if (count === -EAGAIN || count === -EINTR) return;
    if (count <= 0) {
      this.#lostInput(count);
      return;
    }
    this.#pending = this.#buffer.slice(0, count);
    this.#feed();
  }

  /** Hands input to the guest; what does not fit waits, and the descriptor is not read until it has been taken. */
  #feed(): void {
    if (this.#pending.length > 0) this.#pending = this.#pending.slice(this.#uart.receive(this.#pending));
    if (this.#pending.length > 0) {
      this.#endInputWatch?.();
      this.#endInputWatch = undefined;
    } else if (this.#endInputWatch === undefined && this.#inputFd >= 0) this.#watchInput();
  }

  /** Epoll refuses regular files, which are always ready: these are read at once. */
  #watchInput(): void {
    try {
      this.#endInputWatch = this.#context.watch(this.#inputFd, EPOLLIN, () => this.#read());
    } catch (error) {
      if ((error as { errno?: number }).errno !== EPERM) throw error;
      this.#read();
    }
  }

  #lostInput(result: number): void {
    this.#endInputWatch?.();
    this.#endInputWatch = undefined;
    if (this.#client !== undefined) this.#lostClient();
    else if (this.#reopened !== undefined && result === -EIO) timerfdSettime(this.#reopened, { value: PTY_POLL_NS });
    else this.#inputEnded = true;
  }

  #lookForPeer(): void {
    if (this.#reopened === undefined) return;
    drainEventfd(this.#reopened);
    const gone = ((poll([{ fd: this.#options.inputFd, events: 0 }], 0)[0] as number) & POLLHUP) !== 0;
    if (gone) timerfdSettime(this.#reopened, { value: PTY_POLL_NS });
    else this.#feed();
  }

  #lostOutput(): void {
    this.#stopWaitingForRoom();
    if (this.#client !== undefined) this.#lostClient();
    else this.#outputLost = true;
  }

  #lostClient(): void {
    this.#endInputWatch?.();
    this.#endInputWatch = undefined;
    this.#stopWaitingForRoom();
    this.#pending = new Uint8Array(0);
    this.#client?.close();
    this.#client = undefined;
    this.#context.emit({ name: "disconnected" });
    this.#write();
  }

  #stopWaitingForRoom(): void {
    this.#endOutputWatch?.();
    this.#endOutputWatch = undefined;
  }

  /** Watches a duplicate, since epoll takes a descriptor that is watched for input only once. */
  #watchOutput(fd: number): () => void {
    const duplicate = dupFd(fd);
    const end = this.#context.watch(duplicate.raw, EPOLLOUT, () => this.#write());
    return () => {
      end();
      duplicate.close();
    };
  }

  close(): void {
    this.#write();
    this.#endInputWatch?.();
    this.#stopWaitingForRoom();
    this.#client?.close();
    this.#client = undefined;
    for (const end of this.#endWatches) end();
    this.#linger.close();
    this.#reopened?.close();
  }
}
