import {
  accept,
  BatonError,
  connect,
  drainEventfd,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  Fd,
  timerfdCreate,
  timerfdSettime,
  tryWrite,
} from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import { StateReader } from "../device/state.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { type ConnectionState, VSOCK_BUFFER_BYTES, VsockConnection } from "./connection.js";
import { VsockHandshake } from "./handshake.js";
import {
  HOST_CID,
  parseVsockHeader,
  SHUTDOWN_RECEIVE,
  SHUTDOWN_SEND,
  VIRTIO_VSOCK_TYPE_STREAM,
  VSOCK_HEADER_BYTES,
  type VsockHeader,
  vsockOp,
  writeVsockHeader,
} from "./packet.js";

/** What the device's half in its thread is made with. */
export interface VsockDeviceOptions {
  readonly guestCid: bigint;
  /** A listening socket, non-blocking: host programs connect here and say to which port. */
  readonly listenFd: number;
  /** Connections of the guest to port P go to the socket `PATH_P`. */
  readonly path: string;
}

const QUEUE_RX = 0;
const QUEUE_TX = 1;
const QUEUE_EVENT = 2;

/** The most connections, as Firecracker's. */
const MAX_CONNECTIONS = 1023;
/** The most resets owed for packets of no connection; a guest that causes more gets no answer to the rest. */
const MAX_RESETS = 1024;
/** The first of the host's ports that are given to its own connections. */
const FIRST_HOST_PORT = 2 ** 30;
/** How long a host program may take for its first line, and the guest for an answer. */
const TIMEOUT_MS = 2000;
/** Packets in either direction before other devices have their turn. */
const BUDGET = 64;
/** The most bytes of a packet (Linux allows its drivers 64 KiB). */
const MAX_PACKET = VSOCK_BUFFER_BYTES;

/** A reset owed for a packet that no connection was there for. */
interface StrayReset {
  readonly hostPort: number;
  readonly guestPort: number;
}

/** A socket device in user space (virtio 1.2, 5.10): streams between the guest and UNIX sockets of the host. */
export class VsockDevice implements VirtioDevice {
  readonly deviceId = 19;
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [256, 256, 64];
  readonly workQueues: readonly number[] = [QUEUE_TX];
  readonly config = new Uint8Array(8);
  readonly #context: VirtioDeviceContext;
  readonly #options: VsockDeviceOptions;
  readonly #connections = new Map<string, VsockConnection>();
  /** Those that may have something for the guest, in turn. */
  readonly #ready = new Set<VsockConnection>();
  readonly #handshakes = new Set<VsockHandshake>();
  /** Connections of the host that the guest has not answered, with the time when they are given up. */
  readonly #requested = new Map<VsockConnection, number>();
  readonly #timer = timerfdCreate();
  readonly #endTimer: () => void;
  readonly #header = new Uint8Array(VSOCK_HEADER_BYTES);
  #resets: StrayReset[] = [];
  #queues: readonly VirtQueue[] = [];
  #endListen: (() => void) | undefined;
  #nextPort = FIRST_HOST_PORT;
  #quiesced = false;
  /** The state has been saved: the sockets belong to whoever loads it. */
  #saved = false;
  /** The guest is to be told that all its connections are gone. */
  #owesTransportReset = false;

  constructor(context: VirtioDeviceContext, options: VsockDeviceOptions) {
    this.#context = context;
    this.#options = options;
    new DataView(this.config.buffer).setBigUint64(0, options.guestCid, true);
    this.#endTimer = context.watch(this.#timer.raw, EPOLLIN, () => {
      drainEventfd(this.#timer);
      this.#expire();
    });
  }

  start({ queues }: DriverReady): void {
    this.#queues = queues;
    if (!this.#quiesced) this.#listen();
  }

  notify(queue: VirtQueue): boolean {
    if (this.#quiesced) return false;
    if (queue.index === QUEUE_TX) return this.#takePackets(queue);
    if (queue.index === QUEUE_EVENT) this.#sendTransportReset();
    else this.#fill();
    return true;
  }

  reset(): void {
    this.#stop();
    for (const connection of [...this.#connections.values()]) this.#forget(connection);
    for (const handshake of [...this.#handshakes]) this.#endHandshake(handshake, true);
    this.#resets = [];
    this.#queues = [];
    this.#owesTransportReset = false;
    this.#saved = false;
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#stop();
  }

  resume(): void {
    this.#quiesced = false;
    this.#saved = false;
    if (this.#queues.length === 0) return;
    this.#listen();
    for (const connection of this.#connections.values()) this.#watch(connection);
    for (const handshake of this.#handshakes) this.#watchHandshake(handshake);
    this.#armTimer();
    this.#sendTransportReset();
    this.#fill();
  }

  /** The state names the sockets by their descriptors, which stay open for whoever loads it, unless `resume` follows. */
  save(): VsockState {
    this.#saved = true;
    return {
      connections: [...this.#connections.values()].map((connection) => connection.save()),
      resets: [...this.#resets],
      nextPort: this.#nextPort,
    };
  }

  load(state: unknown): void {
    const reader = new StateReader(this.#context.id, state, "device");
    this.#nextPort = reader.integer("nextPort", FIRST_HOST_PORT, 0xffff_ffff);
    this.#resets = reader.list("resets", MAX_RESETS, (reset, path) => {
      const ports = new StateReader(this.#context.id, reset, `device/${path}`);
      return {
        hostPort: ports.integer("hostPort", 0, 0xffff_ffff),
        guestPort: ports.integer("guestPort", 0, 0xffff_ffff),
      };
    });
    const connections = reader.list("connections", MAX_CONNECTIONS, (element, path) =>
      readConnection(new StateReader(this.#context.id, element, `device/${path}`)),
    );
    for (const saved of connections) {
      const fd = saved.fd >= 0 ? Fd.adopt(saved.fd, `vsock ${saved.hostPort}`) : undefined;
      if (fd === undefined) {
        this.#resets.push({ hostPort: saved.hostPort, guestPort: saved.guestPort });
        continue;
      }
      const connection = new VsockConnection(saved, fd, saved.phase);
      connection.restore(saved);
      this.#connections.set(keyOf(connection), connection);
      this.#ready.add(connection);
      if (saved.phase === "requested") this.#requested.set(connection, performance.now() + TIMEOUT_MS);
    }
  }

  command(name: string): unknown {
    if (name === "info") return { connections: this.#connections.size };
    // After a restore elsewhere the peers are gone, and the guest's own id may be another (5.10.6.6).
    if (name === "transport-reset") {
      for (const connection of [...this.#connections.values()]) this.#forget(connection);
      this.#owesTransportReset = true;
      if (!this.#quiesced) this.#sendTransportReset();
      return null;
    }
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a socket device has no command '${name}'`);
  }

  close(): void {
    this.#stop();
    if (!this.#saved) this.reset();
    else for (const handshake of [...this.#handshakes]) this.#endHandshake(handshake, true);
    this.#endTimer();
    this.#timer.close();
  }

  #stop(): void {
    this.#endListen?.();
    this.#endListen = undefined;
    timerfdSettime(this.#timer, { value: 0n });
    for (const connection of this.#connections.values()) {
      connection.endWatch?.();
      connection.endWatch = undefined;
    }
    for (const handshake of this.#handshakes) {
      handshake.endWatch?.();
      handshake.endWatch = undefined;
    }
  }

  #listen(): void {
    this.#endListen ??= this.#context.watch(this.#options.listenFd, EPOLLIN, () => {
      const fd = accept(this.#options.listenFd, { nonblock: true });
      if (fd === null) return;
      if (this.#handshakes.size + this.#connections.size >= MAX_CONNECTIONS) {
        fd.close();
        return;
      }
      const handshake = new VsockHandshake(fd, TIMEOUT_MS);
      this.#handshakes.add(handshake);
      this.#watchHandshake(handshake);
      this.#armTimer();
    });
  }

  #watchHandshake(handshake: VsockHandshake): void {
    handshake.endWatch = this.#context.watch(handshake.fd.raw, EPOLLIN, () => this.#continueHandshake(handshake));
  }

  #continueHandshake(handshake: VsockHandshake): void {
    const port = handshake.read();
    if (port === "wait") return;
    this.#endHandshake(handshake, port === "bad");
    if (port === "bad") return;
    const connection = new VsockConnection(
      { hostPort: this.#freePort(port), guestPort: port },
      handshake.fd,
      "requested",
    );
    connection.owesRequest = true;
    this.#connections.set(keyOf(connection), connection);
    this.#requested.set(connection, performance.now() + TIMEOUT_MS);
    this.#watch(connection);
    this.#armTimer();
    this.#wake(connection);
  }

  #endHandshake(handshake: VsockHandshake, close: boolean): void {
    handshake.endWatch?.();
    this.#handshakes.delete(handshake);
    if (close) handshake.fd.close();
  }

  /** A port of the host that has no connection to this port of the guest. */
  #freePort(guestPort: number): number {
    for (;;) {
      const hostPort = this.#nextPort;
      this.#nextPort = hostPort === 0xffff_ffff ? FIRST_HOST_PORT : hostPort + 1;
      if (!this.#connections.has(keyOf({ hostPort, guestPort }))) return hostPort;
    }
  }

  #watch(connection: VsockConnection): void {
    if (connection.endWatch !== undefined || connection.phase === "closed") return;
    connection.endWatch = this.#context.watch(
      connection.fd.raw,
      EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
      (events) => {
        if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) !== 0) connection.readable = true;
        if ((events & (EPOLLOUT | EPOLLHUP)) !== 0) connection.flush();
        this.#wake(connection);
      },
    );
  }

  /** Looks whether the connection has something for the guest, and sends it. */
  #wake(connection: VsockConnection): void {
    this.#finish(connection);
    if (!connection.hasWork) return;
    this.#ready.add(connection);
    this.#fill();
  }

  /** Ends a connection that both sides have ended. */
  #finish(connection: VsockConnection): void {
    if (connection.phase !== "open" || !connection.finished) return;
    connection.phase = "closed";
    connection.owesReset = true;
  }

  #forget(connection: VsockConnection): void {
    connection.endWatch?.();
    connection.endWatch = undefined;
    connection.fd.close();
    this.#connections.delete(keyOf(connection));
    this.#ready.delete(connection);
    this.#requested.delete(connection);
  }

  #armTimer(): void {
    const pending = this.#handshakes.size + this.#requested.size > 0;
    timerfdSettime(this.#timer, { value: pending ? BigInt(TIMEOUT_MS) * 500_000n : 0n });
  }

  /** Gives up what has taken too long. */
  #expire(): void {
    const now = performance.now();
    for (const handshake of [...this.#handshakes]) if (handshake.deadline <= now) this.#endHandshake(handshake, true);
    for (const [connection, deadline] of [...this.#requested]) {
      if (deadline > now) continue;
      this.#requested.delete(connection);
      if (connection.owesRequest) this.#forget(connection);
      else {
        connection.phase = "closed";
        connection.owesReset = true;
        this.#wake(connection);
      }
    }
    this.#armTimer();
  }

  /** Takes the guest's packets. */
  #takePackets(queue: VirtQueue): boolean {
    let budget = BUDGET;
    for (; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === null) break;
      this.#takePacket(queue, chain);
      queue.push(chain, 0);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
    this.#fill();
    if (budget > 0) return true;
    this.#context.again(queue.index);
    return false;
  }

  #takePacket(queue: VirtQueue, chain: Chain): void {
    if (chain.readableLength < VSOCK_HEADER_BYTES) {
      throw new QueueError(queue.index, "request", chain.id, "a packet is shorter than its header");
    }
    chain.read(this.#header);
    const header = parseVsockHeader(this.#header);
    // A packet from or to somebody else is dropped (5.10.6.4.2).
    if (header.srcCid !== this.#options.guestCid || header.dstCid !== BigInt(HOST_CID)) return;
    const ports = { hostPort: header.dstPort, guestPort: header.srcPort };
    const connection = this.#connections.get(keyOf(ports));
    const sound =
      header.type === VIRTIO_VSOCK_TYPE_STREAM &&
      header.length <= MAX_PACKET &&
      header.length <= chain.readableLength - VSOCK_HEADER_BYTES;
    if (connection === undefined) {
      if (header.op === vsockOp.request && sound) this.#connectToHost(ports, header);
      else if (header.op !== vsockOp.rst) this.#resetStray(ports);
      return;
    }
    if (!sound) {
      this.#breakOff(connection);
      return;
    }
    connection.updateCredit(header.bufAlloc, header.fwdCnt);
    this.#dispatch(connection, header, chain);
    this.#finish(connection);
    if (connection.hasWork && this.#connections.has(keyOf(connection))) this.#ready.add(connection);
  }

  #dispatch(connection: VsockConnection, header: VsockHeader, chain: Chain): void {
    switch (header.op) {
      case vsockOp.response:
        if (connection.phase === "requested") this.#accepted(connection);
        else this.#breakOff(connection);
        break;
      case vsockOp.rst:
        this.#forget(connection);
        break;
      case vsockOp.shutdown:
        connection.shutDownByGuest(header.flags);
        break;
      case vsockOp.rw: {
        const allowed = connection.phase === "open" && (connection.guestShutdown & SHUTDOWN_SEND) === 0;
        if (!allowed || !connection.writeFrom(chain, header.length)) this.#breakOff(connection);
        break;
      }
      case vsockOp.creditUpdate:
        break;
      case vsockOp.creditRequest:
        connection.owesCredit = true;
        break;
      default:
        this.#breakOff(connection);
    }
  }

  /** The guest has taken a connection of the host's: its program is told, and may send. */
  #accepted(connection: VsockConnection): void {
    this.#requested.delete(connection);
    connection.phase = "open";
    const line = new TextEncoder().encode(`OK ${connection.hostPort}\n`);
    // The socket's buffer is empty: a short line fits, or nobody is there any more.
    if (tryWrite(connection.fd.raw, line) !== line.length) this.#breakOff(connection);
  }

  #connectToHost(ports: { hostPort: number; guestPort: number }, header: VsockHeader): void {
    if (this.#connections.size + this.#handshakes.size >= MAX_CONNECTIONS) {
      this.#resetStray(ports);
      return;
    }
    let fd: Fd;
    try {
      fd = connect({ kind: "unix", path: `${this.#options.path}_${ports.hostPort}` }, { nonblock: true });
    } catch {
      // Nobody listens at this port.
      this.#resetStray(ports);
      return;
    }
    const connection = new VsockConnection(ports, fd, "open");
    connection.updateCredit(header.bufAlloc, header.fwdCnt);
    connection.owesResponse = true;
    this.#connections.set(keyOf(ports), connection);
    this.#ready.add(connection);
    this.#watch(connection);
  }

  /** The guest broke the rules of a connection: it ends at once, for both sides. */
  #breakOff(connection: VsockConnection): void {
    connection.phase = "closed";
    connection.owesReset = true;
    connection.owesRequest = false;
    connection.owesResponse = false;
    this.#ready.add(connection);
  }

  #resetStray(ports: StrayReset): void {
    if (this.#resets.length < MAX_RESETS) this.#resets.push(ports);
  }

  /** Sends the guest what it is owed, as far as it has given buffers. */
  #fill(): void {
    const queue = this.#queues[QUEUE_RX];
    if (queue === undefined || !queue.ready || this.#quiesced) return;
    for (let budget = BUDGET; this.#resets.length > 0 || this.#ready.size > 0; budget--) {
      if (budget === 0) {
        this.#context.again(QUEUE_RX);
        break;
      }
      const chain = queue.pop();
      if (chain === null) {
        if (queue.setNotification(true)) continue;
        break;
      }
      if (chain.writableLength < VSOCK_HEADER_BYTES) {
        throw new QueueError(queue.index, "request", chain.id, "a buffer is shorter than a packet's header");
      }
      const written = this.#nextPacket(chain);
      if (written === 0) {
        queue.unpop(chain);
        break;
      }
      queue.push(chain, written);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
  }

  /** Makes the next packet in a buffer; its bytes, or 0 where there is nothing to say. */
  #nextPacket(chain: Chain): number {
    const stray = this.#resets.shift();
    if (stray !== undefined) return this.#write(chain, stray, vsockOp.rst, 0, 0, 0, 0);
    for (const connection of this.#ready) {
      this.#ready.delete(connection);
      const written = this.#packetOf(connection, chain);
      this.#finish(connection);
      if (this.#connections.has(keyOf(connection)) && connection.hasWork) this.#ready.add(connection);
      if (written > 0) return written;
    }
    return 0;
  }

  #packetOf(connection: VsockConnection, chain: Chain): number {
    const send = (op: number, length = 0, flags = 0) => {
      connection.toldFwdCnt = connection.fwdCnt;
      connection.owesCredit = false;
      const { fwdCnt } = connection;
      return this.#write(chain, connection, op, length, flags, VSOCK_BUFFER_BYTES, fwdCnt);
    };
    if (connection.owesReset) {
      const written = send(vsockOp.rst);
      this.#forget(connection);
      return written;
    }
    if (connection.owesRequest) {
      connection.owesRequest = false;
      return send(vsockOp.request);
    }
    if (connection.owesResponse) {
      connection.owesResponse = false;
      return send(vsockOp.response);
    }
    if (connection.phase !== "open") return 0;
    const read = connection.readInto(chain);
    if (read > 0) return send(vsockOp.rw, read);
    if (connection.wantsCredit) {
      connection.wantsCredit = false;
      return send(vsockOp.creditRequest);
    }
    const flags = connection.hostShutdown & ~connection.sentShutdown;
    if (flags !== 0) {
      connection.sentShutdown |= flags;
      return send(vsockOp.shutdown, 0, connection.sentShutdown & (SHUTDOWN_RECEIVE | SHUTDOWN_SEND));
    }
    return connection.owesCredit ? send(vsockOp.creditUpdate) : 0;
  }

  #write(
    chain: Chain,
    { hostPort, guestPort }: StrayReset,
    op: number,
    length: number,
    flags: number,
    bufAlloc: number,
    fwdCnt: number,
  ): number {
    writeVsockHeader(this.#header, {
      srcCid: BigInt(HOST_CID),
      dstCid: this.#options.guestCid,
      srcPort: hostPort,
      dstPort: guestPort,
      length,
      type: VIRTIO_VSOCK_TYPE_STREAM,
      op,
      flags,
      bufAlloc,
      fwdCnt,
    });
    chain.write(this.#header);
    return VSOCK_HEADER_BYTES + length;
  }

  /** Tells the guest that all its connections are gone: event VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, number 0. */
  #sendTransportReset(): void {
    const queue = this.#queues[QUEUE_EVENT];
    if (!this.#owesTransportReset || queue === undefined || !queue.ready) return;
    const chain = queue.pop();
    if (chain === null) return;
    this.#owesTransportReset = false;
    queue.push(chain, chain.write(new Uint8Array(4)));
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
  }
}

/** What the device saves. */
export interface VsockState {
  readonly connections: readonly ConnectionState[];
  readonly resets: readonly StrayReset[];
  readonly nextPort: number;
}

function keyOf({ hostPort, guestPort }: StrayReset): string {
  return `${hostPort}:${guestPort}`;
}

function readConnection(reader: StateReader): ConnectionState {
  const u32 = (field: string) => reader.integer(field, 0, 0xffff_ffff);
  const phase = reader.string("phase", 16);
  if (phase !== "requested" && phase !== "open" && phase !== "closed") throw reader.error("phase", `is '${phase}'`);
  return {
    phase,
    hostPort: u32("hostPort"),
    guestPort: u32("guestPort"),
    fd: reader.integer("fd", -1, 0x7fff_ffff),
    peerBufAlloc: u32("peerBufAlloc"),
    peerFwdCnt: u32("peerFwdCnt"),
    sentToPeer: u32("sentToPeer"),
    fwdCnt: u32("fwdCnt"),
    toldFwdCnt: u32("toldFwdCnt"),
    pending: reader.bytes("pending", VSOCK_BUFFER_BYTES),
    guestShutdown: reader.integer("guestShutdown", 0, 3),
    hostShutdown: reader.integer("hostShutdown", 0, 0x303),
  };
}

/** The factory that the device's service calls. */
export function createVsockDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new VsockDevice(context, options as VsockDeviceOptions);
}
