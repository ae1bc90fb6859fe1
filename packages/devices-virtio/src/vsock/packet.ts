/** Bytes of the header of every packet (virtio 1.2, 5.10.6). */
export const VSOCK_HEADER_BYTES = 44;
/** The only type of sockets here: streams. */
export const VIRTIO_VSOCK_TYPE_STREAM = 1;

/** What a packet is for. */
export const vsockOp = {
  request: 1,
  response: 2,
  rst: 3,
  shutdown: 4,
  rw: 5,
  creditUpdate: 6,
  creditRequest: 7,
} as const;

/** Flags of a shutdown: the sender will receive, or send, no more. */
export const SHUTDOWN_RECEIVE = 1;
export const SHUTDOWN_SEND = 2;

/** Feature bit: sockets that keep messages apart (virtio 1.2, 5.10.3). */
export const VIRTIO_VSOCK_F_SEQPACKET = 1;

/** What is told on the event queue, in 4 bytes (virtio 1.2, 5.10.6.7): all connections are gone, and the guest's id is new. */
export const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;
export const EVENT_BYTES = 4;

/** The context id of the host (virtio 1.2, 5.10.4). */
export const HOST_CID = 2;

/** A packet's header. */
export interface VsockHeader {
  readonly srcCid: bigint;
  readonly dstCid: bigint;
  readonly srcPort: number;
  readonly dstPort: number;
  /** Bytes that follow the header. */
  readonly length: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  /** Bytes that the sender can buffer for this connection. */
  readonly bufAlloc: number;
  /** Bytes that the sender's socket has taken so far, 32 bits that wrap. */
  readonly fwdCnt: number;
}

/** Reads a header. */
export function parseVsockHeader(bytes: Uint8Array): VsockHeader {
  const data = new DataView(bytes.buffer, bytes.byteOffset, VSOCK_HEADER_BYTES);
  return {
    srcCid: data.getBigUint64(0, true),
    dstCid: data.getBigUint64(8, true),
    srcPort: data.getUint32(16, true),
    dstPort: data.getUint32(20, true),
    length: data.getUint32(24, true),
    type: data.getUint16(28, true),
    op: data.getUint16(30, true),
    flags: data.getUint32(32, true),
    bufAlloc: data.getUint32(36, true),
    fwdCnt: data.getUint32(40, true),
  };
}

/** Writes a header into the first 44 bytes of `bytes`. */
export function writeVsockHeader(bytes: Uint8Array, header: VsockHeader): void {
  const data = new DataView(bytes.buffer, bytes.byteOffset, VSOCK_HEADER_BYTES);
  data.setBigUint64(0, header.srcCid, true);
  data.setBigUint64(8, header.dstCid, true);
  data.setUint32(16, header.srcPort, true);
  data.setUint32(20, header.dstPort, true);
  data.setUint32(24, header.length, true);
  data.setUint16(28, header.type, true);
  data.setUint16(30, header.op, true);
  data.setUint32(32, header.flags, true);
  data.setUint32(36, header.bufAlloc, true);
  data.setUint32(40, header.fwdCnt, true);
}
