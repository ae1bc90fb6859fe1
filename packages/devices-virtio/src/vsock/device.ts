import { BatonError, connect, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, Fd, tryWrite } from "@baton/linux";
import type { DriverReady, VirtioDevice, VirtioDeviceContext } from "../device/device.js";
import type { Chain } from "../queue/chain.js";
import { QueueError } from "../queue/errors.js";
import type { VirtQueue } from "../queue/queue.js";
import { vsockConfig } from "./cid.js";
import { type ConnectionPorts, type ConnectionState, VSOCK_BUFFER_BYTES, VsockConnection } from "./connection.js";
import { ConnectionTable } from "./connection-table.js";
import { HostListener } from "./host-listener.js";
import { VsockOutbox } from "./outbox.js";
import {
  HOST_CID,
  parseVsockHeader,
  SHUTDOWN_SEND,
  VIRTIO_VSOCK_TYPE_STREAM,
  VSOCK_HEADER_BYTES,
  type VsockHeader,
  vsockOp,
} from "./packet.js";
import { readVsockState, type SavedSocket, saveSocket, type VsockState } from "./state.js";

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
  readonly config: Uint8Array;
  readonly #context: VirtioDeviceContext;
  readonly #options: VsockDeviceOptions;
  readonly #connections = new ConnectionTable();
  readonly #listener: HostListener;
  readonly #outbox: VsockOutbox;
  readonly #header = new Uint8Array(VSOCK_HEADER_BYTES);
  #queues: readonly VirtQueue[] = [];
  #nextPort = FIRST_HOST_PORT;
  #quiesced = false;
  /** Whose the sockets are: `saved`, another device's if the state is handed over; `loaded`, still the other's. */
  #sockets: "own" | "saved" | "loaded" = "own";
  /** The driver broke the rules: nothing happens until a reset. */
  #halted = false;

  constructor(context: VirtioDeviceContext, options: VsockDeviceOptions) {
    this.#context = context;
    this.#options = options;
    this.config = vsockConfig(options.guestCid);
    this.#outbox = new VsockOutbox(options.guestCid, this.#connections, {
      onSent: (connection) => this.#finish(connection),
      onReset: (connection) => this.#forget(connection),
    });
    this.#listener = new HostListener(context, options.listenFd, {
      hasRoom: () => this.#hasRoom,
      onConnect: (fd, guestPort) => this.#connectToGuest(fd, guestPort),
      onTimeout: (connection) => this.#giveUp(connection as VsockConnection),
    });
  }

  start({ queues }: DriverReady): void {
    this.#queues = queues;
    if (!this.#quiesced && this.#sockets !== "loaded") this.#listener.start();
  }

  notify(queue: VirtQueue): boolean {
    if (this.#quiesced) return false;
    if (queue.index === QUEUE_TX) return this.#guarded(() => this.#takePackets(queue));
    if (queue.index === QUEUE_RX) this.#fill();
    return true;
  }

  reset(): void {
    this.#stop();
    for (const connection of this.#connections) this.#forget(connection);
    this.#listener.clear((fd) => this.#letGo(fd));
    this.#outbox.clear();
    this.#queues = [];
    this.#sockets = "own";
    this.#halted = false;
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#stop();
  }

  resume(): void {
    this.#quiesced = false;
    this.#sockets = "own";
    if (this.#queues.length === 0 || this.#halted) return;
    this.#listener.start();
    for (const connection of this.#connections) this.#watch(connection);
    this.#fill();
  }

  /** The state names the sockets by their descriptors, which stay open for whoever loads it. */
  save(): VsockState {
    if (this.#sockets === "own") this.#sockets = "saved";
    return {
      guestCid: this.#options.guestCid,
      connections: [...this.#connections].map((connection) => ({ ...connection.save(), ...saveSocket(connection.fd) })),
      handshakes: this.#listener.waiting.map(({ fd, line }) => ({ ...saveSocket(fd), line })),
      resets: this.#outbox.resets,
      nextPort: this.#nextPort,
      halted: this.#halted,
    };
  }

  load(state: unknown): void {
    const saved = readVsockState(this.#context.id, state, {
      connections: MAX_CONNECTIONS,
      resets: MAX_RESETS + MAX_CONNECTIONS,
      firstPort: FIRST_HOST_PORT,
      guestCid: this.#options.guestCid,
    });
    this.#sockets = "loaded";
    this.#halted = saved.halted;
    this.#nextPort = saved.nextPort;
    for (const ports of saved.resets) this.#outbox.reset(ports);
    for (const connection of saved.connections) this.#restore(connection);
    for (const { fd, line } of saved.handshakes) {
      if (fd >= 0) this.#listener.add(Fd.adopt(fd, "vsock handshake"), line);
    }
  }

  command(name: string): unknown {
    if (name === "info") return { connections: this.#connections.size };
    throw new BatonError("COMMAND_NOT_FOUND", `${this.#context.id}: a socket device has no command '${name}'`);
  }

  close(handedOver: boolean): void {
    if (this.#sockets === "saved" && !handedOver) this.#sockets = "own";
    this.reset();
    this.#listener.close();
  }

  /** A connection without its socket is over. */
  #restore(saved: ConnectionState & SavedSocket): void {
    const { fd, hostPort, guestPort, phase } = saved;
    if (fd < 0) {
      if (phase !== "draining") this.#outbox.reset({ hostPort, guestPort });
      return;
    }
    const connection = new VsockConnection(saved, Fd.adopt(fd, `vsock ${hostPort}`), phase);
    connection.restore(saved);
    this.#connections.add(connection);
    if (phase === "requested") this.#listener.expect(connection);
  }

  /** Runs code that meets the guest's rings: when they are broken, nothing goes on. */
  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof QueueError) {
        this.#halted = true;
        this.#stop();
      }
      throw error;
    }
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
        if ((events & EPOLLHUP) !== 0) connection.hangUp();
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
    if (connection.phase === "open" && connection.finished) connection.end();
    else if (connection.phase === "draining" && connection.pendingBytes === 0) this.#forget(connection);
  }

  #forget(connection: VsockConnection): void {
    connection.endWatch?.();
    connection.endWatch = undefined;
    this.#letGo(connection.fd);
    this.#connections.remove(connection);
    this.#listener.answered(connection);
  }

  #letGo(fd: Fd): void {
    if (this.#sockets === "own") fd.close();
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
    if (connection.phase === "draining") {
      if (header.op !== vsockOp.rst) this.#resetStray(ports);
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
        if (connection.phase === "open" && connection.mayDrain) connection.drain();
        else this.#forget(connection);
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
    connection.end();
    this.#connections.offer(connection);
  }

  #resetStray(ports: ConnectionPorts): void {
    if (this.#outbox.resetCount < MAX_RESETS) this.#outbox.reset(ports);
  }

  /** Sends the guest what it is owed, as far as it has given buffers. */
  #fill(): void {
    const queue = this.#queues[QUEUE_RX];
    if (queue?.ready && !this.#quiesced && !this.#halted) this.#guarded(() => this.#fillQueue(queue));
  }

  #fillQueue(queue: VirtQueue): void {
    for (let budget = BUDGET; this.#outbox.anyReady; budget--) {
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
      const written = this.#outbox.next(chain);
      if (written === 0) {
        queue.unpop(chain);
        break;
      }
      queue.push(chain, written);
    }
    if (queue.needsNotification()) this.#context.interrupt(queue.index);
  }
}

/** The factory that the device's service calls. */
export function createVsockDevice(context: VirtioDeviceContext, options: unknown): VirtioDevice {
  return new VsockDevice(context, options as VsockDeviceOptions);
}
