import {
  BatonError,
  dupFd,
  EAGAIN,
  EINTR,
  EPERM,
  EPOLLIN,
  EPOLLOUT,
  type Fd,
  fstat,
  hungUp,
  type IoVector,
  MSG_PEEK,
  POLLHUP,
  POLLIN,
  POLLOUT,
  poll,
  S_IFMT,
  S_IFREG,
  tryRead,
  tryReadv,
  tryRecv,
  tryWrite,
  tryWritev,
} from "@baton/linux";
import { Arrivals } from "./arrivals.js";
import type { CharEndpoint } from "./backend.js";

/** What a channel needs of its device thread: the contexts of services and of virtio devices have it. */
export interface ChannelContext {
  watch(fd: number, events: number, onReady: (events: number) => void): () => void;
  defer(work: () => void): void;
}

/** What the owner of a channel hears. Nothing is called from inside one of the channel's own methods. */
export interface ChannelListeners {
  /** There is something to read; {@link CharChannel.read} says what. Called while input is `taken`. */
  onReadable(): void;
  /** What {@link CharChannel.write} refused may be tried again. */
  onWritable(): void;
  /** Somebody has come to, or gone from, the other side of a socket or pseudo-terminal. */
  onConnection(connected: boolean): void;
}

/**
 * What becomes of input: it is `taken`; it waits because there is no room for it just now (`held`: what a peer sent before
 * it went is still read later); or nobody reads it (`refused`: a peer that goes takes along what it sent).
 */
export type InputMode = "taken" | "held" | "refused";

/** Bytes written at once to what may block: a pipe that polls as writable takes as many. */
const CAUTIOUS_BYTES = 4096;
/** Bytes written at once to what does not. */
const FREE_BYTES = 1 << 18;

/**
 * Moves bytes between a device and the descriptors of a back end, in a device thread. Both directions push back: a peer
 * that does not read makes `write` refuse, input that is not `taken` stays where it is. Output without a peer is dropped.
 */
export class CharChannel {
  /** The most bytes that one {@link write} may be given. */
  readonly writeLimit: number;
  readonly #context: ChannelContext;
  readonly #endpoint: CharEndpoint;
  readonly #listeners: ChannelListeners;
  /** Of those who come and go. */
  readonly #arrivals: Arrivals | undefined;
  #endInputWatch: (() => void) | undefined;
  #endRoomWatch: (() => void) | undefined;
  /** Who is connected to the listening socket. */
  #client: Fd | undefined;
  /** -1 where there is nobody. */
  #outputFd = -1;
  #inputFd = -1;
  #connected = true;
  #input: InputMode = "refused";
  /** Input comes from a plain file, which is always ready and which epoll refuses. */
  #plainInput = false;
  #plainTurn = false;
  #quiesced = true;

  constructor(context: ChannelContext, endpoint: CharEndpoint, listeners: ChannelListeners) {
    this.#context = context;
    this.#endpoint = endpoint;
    this.#listeners = listeners;
    let cautious = false;
    if (endpoint.kind === "fds") {
      this.#outputFd = endpoint.outputFd;
      this.#inputFd = endpoint.inputFd;
      cautious = endpoint.outputFd >= 0 && !isPlainFile(endpoint.outputFd);
    } else if (endpoint.kind === "connection") this.#outputFd = this.#inputFd = endpoint.fd;
    else if (endpoint.kind !== "null") {
      this.#arrivals = new Arrivals(context, endpoint, {
        room: () => this.#room,
        onArrival: (fd, client) => this.#connect(fd, client),
      });
      this.#connected = endpoint.kind === "pty" && !hungUp(endpoint.fd);
      if (this.#connected && endpoint.kind === "pty") this.#outputFd = this.#inputFd = endpoint.fd;
    }
    this.writeLimit = cautious ? CAUTIOUS_BYTES : FREE_BYTES;
    this.resume();
  }

  /** Whether somebody is at the other side; always for descriptors, files and `null`. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Says what becomes of input; `refused` until it is called. */
  setInput(mode: InputMode): void {
    if (mode === this.#input) return;
    this.#input = mode;
    this.#endInputWatch?.();
    this.#endInputWatch = undefined;
    this.#watchInput();
  }

  /** Writes at most {@link writeLimit} bytes: how many went, or `-EAGAIN`: `onWritable` is called when it may go on. */
  write(source: IoVector | Uint8Array): number {
    const length = source.byteLength;
    for (;;) {
      const fd = this.#outputFd;
      if (fd < 0) return length;
      if (this.#endpoint.kind === "fds" || this.#endpoint.kind === "pty") {
        const ready = poll([{ fd, events: POLLOUT }], 0)[0] as number;
        if (this.#endpoint.kind === "pty" && (ready & POLLHUP) !== 0) {
          // What it sent before it went is still to be read, which then finds the end.
          if (this.#input === "refused") this.#disconnect();
          return length;
        }
        if (ready === 0) return this.#waitForRoom(fd);
      }
      const written = source instanceof Uint8Array ? tryWrite(fd, source) : tryWritev(fd, source.words, source.count);
      if (written >= 0) return written;
      if (written === -EAGAIN) return this.#waitForRoom(fd);
      if (written === -EINTR) continue;
      if (this.#endpoint.kind === "fds") this.#outputFd = -1;
      else this.#disconnect();
    }
  }

  /** Reads what there is, as far as it fits: how many bytes, 0 where there are none. */
  read(target: IoVector | Uint8Array): number {
    for (;;) {
      const fd = this.#inputFd;
      if (fd < 0) return 0;
      if (this.#endpoint.kind === "fds" && (poll([{ fd, events: POLLIN }], 0)[0] as number) === 0) return 0;
      const count = target instanceof Uint8Array ? tryRead(fd, target) : tryReadv(fd, target.words, target.count);
      if (count > 0) return count;
      if (count === -EAGAIN) return 0;
      if (count === -EINTR) continue;
      if (this.#endpoint.kind === "fds") this.#endInput();
      else this.#disconnect();
    }
  }

  /** Neither reads nor writes nor accepts until {@link resume}; what has not been read stays where it is. */
  quiesce(): void {
    if (this.#quiesced) return;
    this.#quiesced = true;
    this.#arrivals?.stop();
    this.#endInputWatch?.();
    this.#endRoomWatch?.();
    this.#endInputWatch = this.#endRoomWatch = undefined;
  }

  /** Goes on. A write that was refused before is not remembered: its owner tries again. */
  resume(): void {
    if (!this.#quiesced) return;
    this.#quiesced = false;
    this.#arrivals?.start();
    this.#watchInput();
  }

  /** Ends everything and the connection of a client; what it was made with stays open. */
  close(): void {
    this.quiesce();
    this.#client?.close();
    this.#client = undefined;
    this.#outputFd = this.#inputFd = -1;
    this.#arrivals?.close();
  }

  #watchInput(): void {
    const fd = this.#inputFd;
    if (this.#quiesced || fd < 0 || this.#endInputWatch !== undefined) return;
    if (this.#plainInput) this.#readPlain();
    else if (this.#input === "taken") {
      try {
        this.#endInputWatch = this.#context.watch(fd, EPOLLIN, () => this.#listeners.onReadable());
      } catch (error) {
        if (!BatonError.is(error) || error.errno !== EPERM) throw error;
        this.#plainInput = true;
        this.#readPlain();
      }
    } else if (this.#endpoint.kind !== "fds") {
      // Epoll reports a hang-up unasked.
      this.#endInputWatch = this.#context.watch(fd, 0, () => this.#hangUp(fd));
    }
  }

  #readPlain(): void {
    if (this.#plainTurn || this.#input !== "taken") return;
    this.#plainTurn = true;
    this.#context.defer(() => {
      this.#plainTurn = false;
      if (this.#quiesced || this.#input !== "taken" || this.#inputFd < 0) return;
      this.#listeners.onReadable();
      if (this.#inputFd >= 0 && !this.#quiesced) this.#readPlain();
    });
  }

  /** The peer has gone while its input was not taken: what it has sent is still read where there will be room. */
  #hangUp(fd: number): void {
    if (this.#input !== "held" || !this.#hasUnread(fd)) {
      this.#disconnect();
      return;
    }
    this.#endInputWatch?.();
    // Not looked at again until the input mode changes.
    this.#endInputWatch = () => {};
  }

  #hasUnread(fd: number): boolean {
    if (this.#endpoint.kind === "pty") return ((poll([{ fd, events: POLLIN }], 0)[0] as number) & POLLIN) !== 0;
    return tryRecv(fd, new Uint8Array(1), MSG_PEEK) > 0;
  }

  #endInput(): void {
    this.#endInputWatch?.();
    this.#endInputWatch = undefined;
    this.#inputFd = -1;
  }

  /** Watches a duplicate, since epoll takes a descriptor that is watched for input only once. */
  #waitForRoom(fd: number): number {
    if (this.#endRoomWatch !== undefined || this.#quiesced) return -EAGAIN;
    const duplicate = dupFd(fd);
    const end = this.#context.watch(duplicate.raw, EPOLLOUT, () => {
      this.#endRoomWatch?.();
      this.#endRoomWatch = undefined;
      this.#listeners.onWritable();
    });
    this.#endRoomWatch = () => {
      end();
      duplicate.close();
    };
    return -EAGAIN;
  }

  get #room(): "free" | "taken" | "ending" {
    if (!this.#connected) return "free";
    return this.#client !== undefined && hungUp(this.#inputFd) ? "ending" : "taken";
  }

  #connect(fd: number, client?: Fd): void {
    this.#client = client;
    this.#outputFd = this.#inputFd = fd;
    this.#setConnected(true);
    this.#watchInput();
  }

  #disconnect(): void {
    if (!this.#connected) return;
    this.#endInput();
    this.#outputFd = -1;
    const waiting = this.#endRoomWatch !== undefined;
    this.#endRoomWatch?.();
    this.#endRoomWatch = undefined;
    this.#client?.close();
    this.#client = undefined;
    this.#setConnected(false);
    if (waiting) this.#context.defer(() => this.#listeners.onWritable());
    this.#arrivals?.wait();
  }

  #setConnected(connected: boolean): void {
    this.#connected = connected;
    this.#context.defer(() => this.#listeners.onConnection(connected));
  }
}

function isPlainFile(fd: number): boolean {
  return (fstat(fd).mode & S_IFMT) === S_IFREG;
}
