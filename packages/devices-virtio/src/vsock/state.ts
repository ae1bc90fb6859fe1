import { BatonError, EBADF, type Fd, fstat, S_IFMT, S_IFSOCK } from "@baton/linux";
import { StateReader } from "../device/state.js";
import { type ConnectionPhase, type ConnectionPorts, type ConnectionState, VSOCK_BUFFER_BYTES } from "./connection.js";

/**
 * A socket of the host's, of this process: whoever loads the state takes the descriptor over. The inode's number tells
 * whether it is that socket, and another file is refused; where there is none (-1, or a number that is not open) its
 * connection is reset.
 */
export interface SavedSocket {
  readonly fd: number;
  readonly inode: bigint;
}

/** A host program that has not said to which port it wants. */
export interface SavedHandshake extends SavedSocket {
  /** What it has sent of its first line. */
  readonly line: string;
}

/** What a socket device saves. */
export interface VsockState {
  /** What the guest takes for its context id. */
  readonly guestCid: bigint;
  readonly connections: readonly (ConnectionState & SavedSocket)[];
  readonly handshakes: readonly SavedHandshake[];
  /** Resets owed to the guest for packets of no connection. */
  readonly resets: readonly ConnectionPorts[];
  readonly nextPort: number;
  /** The driver broke the rules: nothing happens until a reset. */
  readonly halted: boolean;
}

/** Names a socket for a state. */
export function saveSocket(fd: Fd): SavedSocket {
  return { fd: fd.raw, inode: fstat(fd).ino };
}

/** What a state must agree with. */
export interface VsockLimits {
  readonly connections: number;
  readonly resets: number;
  readonly firstPort: number;
  /** The device's own. */
  readonly guestCid: bigint;
}

/**
 * Checks a state; sockets that are not open have `fd` -1 in what it returns. Throws `DEVICE_STATE` with the path of what
 * is wrong; a connection or socket twice is wrong, and a descriptor of something else.
 */
export function readVsockState(device: string, state: unknown, limits: VsockLimits): VsockState {
  const reader = new StateReader(device, state, "device");
  const guestCid = reader.bits("guestCid");
  if (guestCid !== limits.guestCid) {
    throw reader.error("guestCid", `the guest has CID ${guestCid}, this device ${limits.guestCid}`);
  }
  const within = (element: unknown, path: string) => new StateReader(device, element, path);
  const connections = reader.list("connections", limits.connections, (element, path) =>
    readConnection(within(element, path)),
  );
  const handshakes = reader.list("handshakes", limits.connections, (element, path) => {
    const fields = within(element, path);
    return { ...readSocket(fields), line: fields.string("line", 64) };
  });
  const fds = [...connections, ...handshakes].flatMap(({ fd }) => (fd < 0 ? [] : [fd]));
  if (new Set(fds).size < fds.length) throw reader.error("connections", "have a socket twice");
  const ports = new Set(connections.map(({ hostPort, guestPort }) => `${hostPort}:${guestPort}`));
  if (ports.size < connections.length) throw reader.error("connections", "have two ports twice");
  return {
    guestCid,
    connections,
    handshakes,
    resets: reader.list("resets", limits.resets, (element, path) => readPorts(within(element, path))),
    nextPort: reader.integer("nextPort", limits.firstPort, 0xffff_ffff),
    halted: reader.boolean("halted"),
  };
}

function readPorts(reader: StateReader): ConnectionPorts {
  return {
    hostPort: reader.integer("hostPort", 0, 0xffff_ffff),
    guestPort: reader.integer("guestPort", 0, 0xffff_ffff),
  };
}

function readSocket(reader: StateReader): SavedSocket {
  const fd = reader.integer("fd", -1, 0x7fff_ffff);
  const inode = reader.bits("inode");
  if (fd < 0) return { fd, inode };
  try {
    const { ino, mode } = fstat(fd);
    if (ino !== inode || (mode & S_IFMT) !== S_IFSOCK) {
      throw reader.error("fd", `descriptor ${fd} is not the socket that was saved`);
    }
  } catch (error) {
    if (BatonError.is(error) && error.errno === EBADF) return { fd: -1, inode };
    throw error;
  }
  return { fd, inode };
}

const PHASES: readonly ConnectionPhase[] = ["requested", "open", "draining", "closed"];

function isPhase(phase: string): phase is ConnectionPhase {
  return (PHASES as readonly string[]).includes(phase);
}

function readConnection(reader: StateReader): ConnectionState & SavedSocket {
  const u32 = (field: string) => reader.integer(field, 0, 0xffff_ffff);
  const phase = reader.string("phase", 16);
  if (!isPhase(phase)) throw reader.error("phase", `is '${phase}'`);
  return {
    ...readPorts(reader),
    ...readSocket(reader),
    phase,
    owesRequest: reader.boolean("owesRequest"),
    owesResponse: reader.boolean("owesResponse"),
    peerBufAlloc: u32("peerBufAlloc"),
    peerFwdCnt: u32("peerFwdCnt"),
    sentToPeer: u32("sentToPeer"),
    fwdCnt: u32("fwdCnt"),
    toldFwdCnt: u32("toldFwdCnt"),
    pending: reader.bytes("pending", VSOCK_BUFFER_BYTES),
    guestShutdown: reader.integer("guestShutdown", 0, 3),
    hostShutdown: reader.integer("hostShutdown", 0, 3),
    sentShutdown: reader.integer("sentShutdown", 0, 3),
  };
}
