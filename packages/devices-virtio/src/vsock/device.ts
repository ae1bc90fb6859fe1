import { BatonError, connect, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, type Fd, tryWrite } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { type ConnectionPorts, VSOCK_BUFFER_BYTES, VsockConnection } from "./connection.js";
import { ConnectionTable } from "./connection-table.js";
import { VsockHandshake } from "./handshake.js";
import { HostListener, handshakeDeadline } from "./host-listener.js";
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
import { readVsockState, saveSocket, takeSocket, type VsockState } from "./state.js";

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

/** The most connections, as Firecracker's. */
const MAX_CONNECTIONS = 1023;
/** The most resets owed for packets of no connection; a guest that causes more gets no answer to the rest. */
const MAX_RESETS = 1024;
/** The first of the host's ports that are given to its own connections. */
const FIRST_HOST_PORT = 2 ** 30;
/** Packets in either direction before other devices have their turn. */
const BUDGET = 64;
/** The most bytes of a packet (Linux allows its drivers 64 KiB). */
const MAX_PACKET = VSOCK_BUFFER_BYTES;

/** A socket device in user space (virtio 1.2, 5.10): streams between the guest and UNIX sockets of the host. */
export class VsockDevice implements VirtioDevice {
  readonly deviceId = 19;
  readonly features = 0n;
  /** Receive, transmit, and events, of which there are none: a machine that is moved keeps its connections. */
  readonly queueSizes: readonly number[] = [256, 256, 64];
  readonly workQueues: readonly number[] = [QUEUE_TX];
  readonly config = new Uint8Array(8);
  readonly #context: VirtioDeviceContext;
  readonly #options: VsockDeviceOptions;
  readonly #connections = new ConnectionTable();
  readonly #listener: HostListener;
  readonly #header = new Uint8Array(VSOCK_HEADER_BYTES);
  #resets: ConnectionPorts[] = [];
  #queues: readonly VirtQueue[] = [];
  #nextPort = FIRST_HOST_PORT;
  #quiesced = false;
  /** Whether the sockets are this device's to close: not between `save` or `load`, and `resume`. */
  #ownsSockets = true;

  constructor(context: VirtioDeviceContext, options: VsockDeviceOptions) {
    this.#context = context;
    this.#options = options;
    new DataView(this.config.buffer).setBigUint64(0, options.guestCid, true);
    this.#listener = new HostListener(context, options.listenFd, {
      hasRoom: () => this.#hasRoom,
      onConnect: (fd, guestPort) => this.#connectToGuest(fd, guestPort),
      onTimeout: (connection) => this.#giveUp(connection as VsockConnection),
    });
  }

  start({ queues }: DriverReady): void {
    this.#queues = queues;
    if (!this.#quiesced && this.#ownsSockets) this.#listener.start();
  }

  notify(queue: VirtQueue): boolean {
    if (this.#quiesced) return false;
    if (queue.index === QUEUE_TX) return this.#takePackets(queue);
    if (queue.index === QUEUE_RX) this.#fill();
    return true;
  }

  reset(): void {
    this.#stop();
    for (const connection of this.#connections) this.#forget(connection);
    this.#listener.clear((fd) => this.#letGo(fd));
    this.#resets = [];
    this.#queues = [];
    this.#ownsSockets = true;
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#stop();
  }

  resume(): void {
    this.#quiesced = false;
    this.#ownsSockets = true;
    if (this.#queues.length === 0) return;
    this.#listener.start();
    for (const connection of this.#connections) this.#watch(connection);
    this.#fill();
  }

  /** The state names the sockets by their descriptors, which stay open for whoever loads it, unless `resume` follows. */
  save(): VsockState {
    this.#ownsSockets = false;
    return {
      connections: [...this.#connections].map((connection) => ({ ...connection.save(), ...saveSocket(connection.fd) })),
      handshakes: this.#listener.waiting.map(({ fd, line }) => ({ ...saveSocket(fd), line })),
      resets: [...this.#resets],
      nextPort: this.#nextPort,
    };
  }

  load(state: unknown): void {
    const limits = { connections: MAX_CONNECTIONS, resets: MAX_RESETS, firstPort: FIRST_HOST_PORT };
    const { connections, handshakes, resets, nextPort } = readVsockState(this.#context.id, state, limits);
    this.#ownsSockets = false;
    this.#nextPort = nextPort;
    this.#resets = [...resets];
    for (const saved of connections) {
      const fd = takeSocket(saved, `vsock ${saved.hostPort}`);
      if (fd === undefined) {
        this.#resets.push({ hostPort: saved.hostPort, guestPort: saved.guestPort });
        continue;
      }
      const connection = new VsockConnection(saved, fd, saved.phase);
      connection.restore(saved);
      this.#connections.add(connection);
      if (saved.phase === "requested") this.#listener.expect(connection);
    }
    for (const saved of handshakes) {
      const fd = takeSocket(saved, "vsock handshake");
      if (fd !== undefined) this.#listener.add(new VsockHandshake(fd, handshakeDeadline(), saved.line));
    }
  }

  command(name: string): unknown {
    if (name === "info") return { connections: this.#connections.size };
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a socket device has no command '${name}'`);
  }

  close(): void {
    this.reset();
    this.#listener.close();
  }

  get #hasRoom(): boolean {
    return this.#connections.size + this.#listener.waiting.length < MAX_CONNECTIONS;
  }

  #stop(): void {
    this.#listener.stop();
    for (const connection of this.#connections) {
      connection.endWatch?.();
      connection.endWatch = undefined;
    }
  }

  /** A host program wants a port of the guest's. */
  #connectToGuest(fd: Fd, guestPort: number): void {
    const connection = new VsockConnection({ hostPort: this.#freePort(guestPort), guestPort }, fd, "requested");
    connection.owesRequest = true;
    this.#connections.add(connection);
    this.#listener.expect(connection);
    this.#watch(connection);
    this.#wake(connection);
  }

  /** The guest has not answered in time. */
  #giveUp(connection: VsockConnection): void {
    if (connection.owesRequest) this.#forget(connection);
    else {
      this.#breakOff(connection);
      this.#wake(connection);
    }
  }

  /** A port of the host that has no connection to this port of the guest. */
  #freePort(guestPort: number): number {
    for (;;) {
      const hostPort = this.#nextPort;
      this.#nextPort = hostPort === 0xffff_ffff ? FIRST_HOST_PORT : hostPort + 1;
      if (this.#connections.get({ hostPort, guestPort }) === undefined) return hostPort;
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
    this.#connections.offer(connection);
    if (connection.hasWork) this.#fill();
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
    this.#letGo(connection.fd);
    this.#connections.remove(connection);
    this.#listener.answered(connection);
  }

  #letGo(fd: Fd): void {
    if (this.#ownsSockets) fd.close();
    else fd.release();
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
    const connection = this.#connections.get(ports);
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
    this.#connections.offer(connection);
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
    this.#listener.answered(connection);
    connection.phase = "open";
    const line = new TextEncoder().encode(`OK ${connection.hostPort}\n`);
    // The socket's buffer is empty: a short line fits, or nobody is there any more.
    if (tryWrite(connection.fd.raw, line) !== line.length) this.#breakOff(connection);
  }

  #connectToHost(ports: ConnectionPorts, header: VsockHeader): void {
    if (!this.#hasRoom) {
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
    this.#connections.add(connection);
    this.#watch(connection);
  }

  /** The guest broke the rules of a connection: it ends at once, for both sides. */
  #breakOff(connection: VsockConnection): void {
    connection.phase = "closed";
    connection.owesReset = true;
    connection.owesRequest = false;
    connection.owesResponse = false;
    this.#connections.offer(connection);
  }

  #resetStray(ports: ConnectionPorts): void {
    if (this.#resets.length < MAX_RESETS) this.#resets.push(ports);
  }

  /** Sends the guest what it is owed, as far as it has given buffers. */
  #fill(): void {
    const queue = this.#queues[QUEUE_RX];
    if (queue === undefined || !queue.ready || this.#quiesced) return;
    for (let budget = BUDGET; this.#resets.length > 0 || this.#connections.anyReady; budget--) {
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
    // Each has one turn: what has bytes and finds no room for one waits for another buffer.
    const served: VsockConnection[] = [];
    let written = 0;
    for (let next = this.#connections.next(); next !== undefined && written === 0; ) {
      written = this.#packetOf(next, chain);
      this.#finish(next);
      served.push(next);
      if (written === 0) next = this.#connections.next();
    }
    for (const connection of served) this.#connections.offer(connection);
    return written;
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
    { hostPort, guestPort }: ConnectionPorts,
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
}

/** The factory that the device's service calls. */
export function createVsockDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new VsockDevice(context, options as VsockDeviceOptions);
}
