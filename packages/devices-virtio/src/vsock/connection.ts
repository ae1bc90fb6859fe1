import {
  EAGAIN,
  EINTR,
  type Fd,
  hungUp,
  IoVector,
  MSG_PEEK,
  shutdown,
  tryReadv,
  tryRecv,
  tryWrite,
  tryWritev,
} from "@baton/linux";
import type { Chain } from "../queue/chain.js";
import { SHUTDOWN_RECEIVE, SHUTDOWN_SEND, VSOCK_HEADER_BYTES } from "./packet.js";

const BOTH = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/** Bytes that a connection holds for a host program that does not read: what the guest is told as its credit. */
export const VSOCK_BUFFER_BYTES = 256 * 1024;

/** Where a connection stands. */
export type ConnectionPhase =
  /** The guest has been asked to take a connection of the host's. */
  | "requested"
  /** Both sides have it. */
  | "open"
  /** The guest has forgotten it, and the host's program has yet to take what the guest sent before. */
  | "draining"
  /** It is over: what is left to do is to tell the guest. */
  | "closed";

/** A connection's two ports: the host's and the guest's. */
export interface ConnectionPorts {
  readonly hostPort: number;
  readonly guestPort: number;
}

/** A connection as plain data. */
export interface ConnectionState extends ConnectionPorts {
  readonly phase: ConnectionPhase;
  readonly owesRequest: boolean;
  readonly owesResponse: boolean;
  readonly peerBufAlloc: number;
  readonly peerFwdCnt: number;
  readonly sentToPeer: number;
  readonly fwdCnt: number;
  readonly toldFwdCnt: number;
  /** What the guest has sent and the host's socket has not taken. */
  readonly pending: Uint8Array;
  /** `SHUTDOWN_*` flags that the guest has sent, that it is to be sent, and that it has been sent. */
  readonly guestShutdown: number;
  readonly hostShutdown: number;
  readonly sentShutdown: number;
}

/** One stream between a guest's port and a UNIX socket of the host, with its flow control (virtio 1.2, 5.10.6.3). */
export class VsockConnection implements ConnectionPorts {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly fd: Fd;
  phase: ConnectionPhase;
  /** Whether the host's socket may have data, as far as is known. */
  readable = true;
  /** Packets that are owed to the guest, by kind. */
  owesRequest = false;
  owesResponse = false;
  owesReset = false;
  owesCredit = false;
  wantsCredit = false;
  /** `SHUTDOWN_*` flags that the guest is to be sent, and has been sent. */
  hostShutdown = 0;
  sentShutdown = 0;
  guestShutdown = 0;
  /** Guest's credit. */
  peerBufAlloc = 0;
  peerFwdCnt = 0;
  sentToPeer = 0;
  /** What the host's socket has taken of the guest's bytes, and what the guest knows of that; 32 bits. */
  fwdCnt = 0;
  toldFwdCnt = 0;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #writesEnded = false;
  /** Whether the host's program is gone altogether. */
  #gone = false;
  endWatch: (() => void) | undefined;
  readonly #vector = new IoVector(64);
  readonly #byte = new Uint8Array(1);

  constructor(ports: ConnectionPorts, fd: Fd, phase: ConnectionPhase) {
    this.hostPort = ports.hostPort;
    this.guestPort = ports.guestPort;
    this.fd = fd;
    this.phase = phase;
  }

  /** Bytes that the guest can still take. */
  get peerCredit(): number {
    const flying = (this.sentToPeer - this.peerFwdCnt) >>> 0;
    return Math.max(0, this.peerBufAlloc - flying);
  }

  /** Bytes that wait for the host's socket. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Whether the guest is owed a packet, or has credit for data that may be there. */
  get hasWork(): boolean {
    if (this.owesReset || this.owesRequest || this.owesResponse) return true;
    if (this.phase !== "open") return false;
    return this.owesCredit || this.wantsCredit || this.#owesShutdown || this.#mayRead;
  }

  get #owesShutdown(): boolean {
    return (this.hostShutdown & ~this.sentShutdown) !== 0;
  }

  get #mayRead(): boolean {
    const deaf = (this.guestShutdown & SHUTDOWN_RECEIVE) !== 0 || (this.hostShutdown & SHUTDOWN_SEND) !== 0;
    return this.readable && !deaf && this.peerCredit > 0;
  }

  /** Takes what a packet says of the guest's credit. */
  updateCredit(bufAlloc: number, fwdCnt: number): void {
    this.peerBufAlloc = bufAlloc;
    this.peerFwdCnt = fwdCnt;
  }

  /**
   * Reads the host's socket straight into a guest's buffer, behind the header; how many bytes, 0 where there is nothing
   * now. At the end of the stream the guest is owed a shutdown. Where there is something, and room for a header alone, it
   * is owed its credit: that takes the buffer out of the way.
   */
  readInto(chain: Chain): number {
    if (!this.#mayRead) return 0;
    const room = Math.min(chain.writableLength - VSOCK_HEADER_BYTES, this.peerCredit, VSOCK_BUFFER_BYTES);
    this.#vector.clear();
    chain.gatherWritable(this.#vector, VSOCK_HEADER_BYTES, room);
    for (;;) {
      const result =
        room > 0
          ? tryReadv(this.fd.raw, this.#vector.words, this.#vector.count)
          : tryRecv(this.fd.raw, this.#byte, MSG_PEEK);
      if (result === -EINTR) continue;
      if (result > 0 && room === 0) {
        this.owesCredit = true;
        return 0;
      }
      if (result > 0) {
        this.sentToPeer = (this.sentToPeer + result) >>> 0;
        if (this.peerCredit === 0) this.wantsCredit = true;
        return result;
      }
      this.readable = false;
      if (result !== -EAGAIN) this.hostShutdown |= result === 0 && !this.#gone ? SHUTDOWN_SEND : BOTH;
      return 0;
    }
  }

  /** Takes `length` bytes of a guest's packet; false where it sent more than it may. */
  writeFrom(chain: Chain, length: number): boolean {
    if (this.#pendingBytes + length > VSOCK_BUFFER_BYTES) return false;
    const result = this.#pendingBytes === 0 && length > 0 ? this.#writeNow(chain, length) : 0;
    if (result < 0 && result !== -EAGAIN) {
      this.#lost(length);
      return true;
    }
    const done = Math.max(0, result);
    this.#forwarded(done);
    if (done < length) {
      const rest = new Uint8Array(length - done);
      chain.read(rest, VSOCK_HEADER_BYTES + done);
      this.#pending.push(rest);
      this.#pendingBytes += rest.length;
    }
    return true;
  }

  #writeNow(chain: Chain, length: number): number {
    this.#vector.clear();
    chain.gatherReadable(this.#vector, VSOCK_HEADER_BYTES, length);
    for (;;) {
      const result = tryWritev(this.fd.raw, this.#vector.words, this.#vector.count);
      if (result !== -EINTR) return result;
    }
  }

  /** Writes what waits, as far as the host's socket takes it. */
  flush(): void {
    for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
      const result = tryWrite(this.fd.raw, first);
      if (result === -EINTR) continue;
      if (result === -EAGAIN) return;
      if (result < 0) {
        this.#lost(0);
        return;
      }
      this.#pendingBytes -= result;
      this.#forwarded(result);
      if (result === first.length) this.#pending.shift();
      else this.#pending[0] = first.subarray(result);
    }
    if ((this.guestShutdown & SHUTDOWN_SEND) !== 0) this.#endWrites();
  }

  /** The guest sends, or receives, no more: the host's program finds its stream ended, or cannot write any more. */
  shutDownByGuest(flags: number): void {
    const before = this.guestShutdown;
    this.guestShutdown |= flags & BOTH;
    if ((this.guestShutdown & ~before & SHUTDOWN_RECEIVE) !== 0) this.#shutdown("read");
    if (this.#gone) this.hangUp();
    if ((this.guestShutdown & SHUTDOWN_SEND) !== 0 && this.#pendingBytes === 0) this.#endWrites();
  }

  /** The host's program is gone altogether: the guest is told when it has what was sent before, and it wants that. */
  hangUp(): void {
    this.#gone = true;
    if ((this.hostShutdown & SHUTDOWN_SEND) !== 0 || (this.guestShutdown & SHUTDOWN_RECEIVE) !== 0) {
      this.hostShutdown |= BOTH;
    }
  }

  /** The guest has forgotten it: what the host's program has yet to take still goes to it. */
  drain(): void {
    this.phase = "draining";
    this.owesResponse = false;
  }

  /** Ends the host's side at once, whatever waits for it. */
  end(): void {
    this.phase = "closed";
    this.owesReset = true;
    this.owesRequest = false;
    this.owesResponse = false;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#shutdown("both");
  }

  /** Whether the guest has said that it sends no more, and the host's program has yet to take what it sent. */
  get mayDrain(): boolean {
    return this.#pendingBytes > 0 && (this.guestShutdown & SHUTDOWN_SEND) !== 0;
  }

  /** Whether neither side has anything more to say. */
  get finished(): boolean {
    const guest = this.guestShutdown;
    if ((guest & SHUTDOWN_SEND) === 0 || this.#pendingBytes > 0) return false;
    return (guest & SHUTDOWN_RECEIVE) !== 0 || (this.sentShutdown & SHUTDOWN_SEND) !== 0;
  }

  save(): ConnectionState {
    const pending = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const piece of this.#pending) {
      pending.set(piece, at);
      at += piece.length;
    }
    return {
      hostPort: this.hostPort,
      guestPort: this.guestPort,
      phase: this.phase,
      owesRequest: this.owesRequest,
      owesResponse: this.owesResponse,
      peerBufAlloc: this.peerBufAlloc,
      peerFwdCnt: this.peerFwdCnt,
      sentToPeer: this.sentToPeer,
      fwdCnt: this.fwdCnt,
      toldFwdCnt: this.toldFwdCnt,
      pending,
      guestShutdown: this.guestShutdown,
      hostShutdown: this.hostShutdown,
      sentShutdown: this.sentShutdown,
    };
  }

  /** Takes a saved state; packets that were owed are owed again. */
  restore(state: ConnectionState): void {
    this.peerBufAlloc = state.peerBufAlloc;
    this.peerFwdCnt = state.peerFwdCnt;
    this.sentToPeer = state.sentToPeer;
    this.fwdCnt = state.fwdCnt;
    this.toldFwdCnt = state.toldFwdCnt;
    this.guestShutdown = state.guestShutdown;
    this.hostShutdown = state.hostShutdown;
    this.sentShutdown = state.sentShutdown;
    this.owesRequest = state.owesRequest;
    this.owesResponse = state.owesResponse;
    if (state.pending.length > 0) {
      this.#pending = [state.pending];
      this.#pendingBytes = state.pending.length;
    }
    this.owesReset = this.phase === "closed";
    this.owesCredit = this.phase === "open";
    this.wantsCredit = this.phase === "open" && this.peerCredit === 0;
  }

  #forwarded(bytes: number): void {
    this.fwdCnt = (this.fwdCnt + bytes) >>> 0;
    const untold = (this.fwdCnt - this.toldFwdCnt) >>> 0;
    if (untold > VSOCK_BUFFER_BYTES / 4) this.owesCredit = true;
  }

  /** The host's program takes no more, or is gone: what the guest sent is lost, and the guest is told. */
  #lost(length: number): void {
    this.#forwarded(this.#pendingBytes + length);
    this.#pending = [];
    this.#pendingBytes = 0;
    if (hungUp(this.fd)) this.hangUp();
    else this.hostShutdown |= SHUTDOWN_RECEIVE;
  }

  /** Once only: each shutdown of a socket is an event of its own. */
  #endWrites(): void {
    if (this.#writesEnded) return;
    this.#writesEnded = true;
    this.#shutdown("write");
  }

  #shutdown(how: "read" | "write" | "both"): void {
    try {
      shutdown(this.fd, how);
    } catch {
      // The other side has gone before: there is nothing to end.
    }
  }
}
