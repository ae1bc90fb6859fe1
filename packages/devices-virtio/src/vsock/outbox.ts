import type { Chain } from "../queue/chain.js";
import { type ConnectionPorts, VSOCK_BUFFER_BYTES, type VsockConnection } from "./connection.js";
import type { ConnectionTable } from "./connection-table.js";
import {
  HOST_CID,
  VIRTIO_VSOCK_TYPE_STREAM,
  VSOCK_HEADER_BYTES,
  type VsockHeader,
  vsockOp,
  writeVsockHeader,
} from "./packet.js";

/** What an outbox tells its device. */
export interface VsockOutboxEvents {
  /** A connection had its turn. */
  onSent(connection: VsockConnection): void;
  /** The guest has been told that a connection is over. */
  onReset(connection: VsockConnection): void;
}

/** What the guest is owed: resets for packets of no connection, and what each connection has for it, in turn. */
export class VsockOutbox {
  readonly #guestCid: bigint;
  readonly #connections: ConnectionTable;
  readonly #events: VsockOutboxEvents;
  readonly #header = new Uint8Array(VSOCK_HEADER_BYTES);
  #resets: ConnectionPorts[] = [];

  constructor(guestCid: bigint, connections: ConnectionTable, events: VsockOutboxEvents) {
    this.#guestCid = guestCid;
    this.#connections = connections;
    this.#events = events;
  }

  /** Whether there may be something for the guest. */
  get anyReady(): boolean {
    return this.#resets.length > 0 || this.#connections.anyReady;
  }

  /** Resets that are owed for packets of no connection; a copy. */
  get resets(): readonly ConnectionPorts[] {
    return [...this.#resets];
  }

  get resetCount(): number {
    return this.#resets.length;
  }

  /** Owes the guest a reset. */
  reset(ports: ConnectionPorts): void {
    this.#resets.push(ports);
  }

  /** Owes it no resets any more. */
  clear(): void {
    this.#resets = [];
  }

  /** Makes the next packet in a buffer; its bytes, or 0 where there is nothing to say. */
  next(chain: Chain): number {
    const stray = this.#resets.shift();
    if (stray !== undefined) return this.#write(chain, stray, { op: vsockOp.rst });
    const served: VsockConnection[] = [];
    let written = 0;
    for (let next = this.#connections.next(); next !== undefined && written === 0; ) {
      written = this.#packetOf(next, chain);
      this.#events.onSent(next);
      served.push(next);
      if (written === 0) next = this.#connections.next();
    }
    for (const connection of served) this.#connections.offer(connection);
    return written;
  }

  #packetOf(connection: VsockConnection, chain: Chain): number {
    const send = (op: number, more: { readonly length?: number; readonly flags?: number } = {}) => {
      const { fwdCnt } = connection;
      connection.toldFwdCnt = fwdCnt;
      connection.owesCredit = false;
      return this.#write(chain, connection, { op, ...more, bufAlloc: VSOCK_BUFFER_BYTES, fwdCnt });
    };
    if (connection.owesReset) {
      const written = send(vsockOp.rst);
      this.#events.onReset(connection);
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
    if (read > 0) return send(vsockOp.rw, { length: read });
    if (connection.wantsCredit) {
      connection.wantsCredit = false;
      return send(vsockOp.creditRequest);
    }
    const flags = connection.hostShutdown & ~connection.sentShutdown;
    if (flags !== 0) {
      connection.sentShutdown |= flags;
      return send(vsockOp.shutdown, { flags: connection.sentShutdown });
    }
    return connection.owesCredit ? send(vsockOp.creditUpdate) : 0;
  }

  #write(
    chain: Chain,
    { hostPort, guestPort }: ConnectionPorts,
    packet: Pick<VsockHeader, "op"> & Partial<VsockHeader>,
  ): number {
    const header: VsockHeader = {
      srcCid: BigInt(HOST_CID),
      dstCid: this.#guestCid,
      srcPort: hostPort,
      dstPort: guestPort,
      type: VIRTIO_VSOCK_TYPE_STREAM,
      length: 0,
      flags: 0,
      bufAlloc: 0,
      fwdCnt: 0,
      ...packet,
    };
    writeVsockHeader(this.#header, header);
    chain.write(this.#header);
    return VSOCK_HEADER_BYTES + header.length;
  }
}
