import { EAGAIN, ECONNREFUSED, EINPROGRESS } from "./abi/errno.js";
import {
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  MSG_NOSIGNAL,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ERROR,
  SO_PEERCRED,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  ucred,
} from "./abi/socket.js";
import { checked, throwErrno } from "./errno.js";
import { BatonError } from "./errors.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { lastErrno, libc } from "./native.js";
import { addressFamily, decodeAddress, encodeAddress, formatAddress, type SocketAddress } from "./socket-address.js";
import { anInt, aU32, aView } from "./validate.js";

/** Whether the new socket is non-blocking; false unless given. */
export interface SocketOptions {
  readonly nonblock?: boolean;
}

function socket(family: number, name: string, nonblock = false, kind = SOCK_STREAM): Fd {
  const call = libc<(family: number, type: number, protocol: number) => number>("int socket(int, int, int)");
  const type = kind | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0);
  return Fd.adopt(checked(call(family, type, 0), "socket", name), name);
}

type WithAddress = (fd: number, address: Uint8Array, length: number) => number;

/**
 * A listening stream socket. A unix path must not exist yet, and stays when the socket is closed: removing it is up to
 * the caller. Port 0 picks one, see {@link localAddress}. socket(2), bind(2), listen(2).
 */
export function listen(address: SocketAddress, options: SocketOptions & { readonly backlog?: number } = {}): Fd {
  const bytes = encodeAddress(address);
  const name = formatAddress(address);
  const backlog = anInt(options.backlog ?? 128, "backlog", 0, 0xffff);
  // Found before the first: who sees the file of a UNIX socket is to find it listening as soon as can be.
  const callBind = libc<WithAddress>("int bind(int, void *, unsigned int)");
  const callListen = libc<(fd: number, n: number) => number>("int listen(int, int)");
  const fd = socket(addressFamily(address), `listening on ${name}`, options.nonblock);
  try {
    if (address.kind === "inet") setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (addressFamily(address) === AF_INET6) setSocketOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    checked(callBind(fd.raw, bytes, bytes.byteLength), "bind", name);
    checked(callListen(fd.raw, backlog), "listen", name);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/**
 * A stream socket connected to `address`. With `nonblock` the connection may still be under way: wait for POLLOUT and
 * ask {@link socketError}. connect(2).
 */
export function connect(address: SocketAddress, options: SocketOptions = {}): Fd {
  const bytes = encodeAddress(address);
  const name = formatAddress(address);
  const fd = socket(addressFamily(address), name, options.nonblock);
  const result = libc<WithAddress>("int connect(int, void *, unsigned int)")(fd.raw, bytes, bytes.byteLength);
  if (result < 0) {
    const errno = lastErrno();
    if (errno !== EINPROGRESS) {
      fd.close();
      throwErrno("connect", errno, { what: name });
    }
  }
  return fd;
}

/**
 * Whether a stream socket of some process may stand at a path: false only where the file is left of one that is gone. Who is
 * there is not told: a connection of another kind is tried, which the kernel refuses with `EPROTOTYPE` for a socket, and with
 * `ECONNREFUSED` for the rest of one. connect(2), unix(7).
 */
export function isUnixSocketAlive(path: string): boolean {
  const bytes = encodeAddress({ kind: "unix", path });
  using fd = socket(AF_UNIX, path, true, SOCK_DGRAM);
  const result = libc<WithAddress>("int connect(int, void *, unsigned int)")(fd.raw, bytes, bytes.byteLength);
  return result === 0 || lastErrno() !== ECONNREFUSED;
}

/** The next connection of a listening socket; null if there is none and the socket is non-blocking. accept4(2). */
export function accept(fd: FdLike, options: SocketOptions = {}): Fd | null {
  const call = libc<(fd: number, a: null, n: null, flags: number) => number>("int accept4(int, void *, void *, int)");
  const raw = call(rawFd(fd), null, null, SOCK_CLOEXEC | (options.nonblock ? SOCK_NONBLOCK : 0));
  if (raw >= 0) return Fd.adopt(raw, `connection of ${fdName(fd)}`);
  const errno = lastErrno();
  if (errno === EAGAIN) return null;
  throwErrno("accept", errno, { what: fdName(fd) });
}

/** Options of {@link socketpair}. */
export interface SocketpairOptions extends SocketOptions {
  readonly name?: string;
  /** Whether each message arrives as it was sent (SOCK_SEQPACKET), instead of a stream of bytes. */
  readonly packets?: boolean;
}

/** Two connected unix sockets. socketpair(2). */
export function socketpair(options: SocketpairOptions = {}): [Fd, Fd] {
  const call = libc<(family: number, type: number, protocol: number, out: Int32Array) => number>(
    "int socketpair(int, int, int, void *)",
  );
  const out = new Int32Array(2);
  const kind = options.packets ? SOCK_SEQPACKET : SOCK_STREAM;
  const type = kind | SOCK_CLOEXEC | (options.nonblock ? SOCK_NONBLOCK : 0);
  checked(call(AF_UNIX, type, 0, out), "socketpair");
  const name = options.name ?? "socketpair";
  return [Fd.adopt(out[0] as number, name), Fd.adopt(out[1] as number, name)];
}

const HOW = { read: SHUT_RD, write: SHUT_WR, both: SHUT_RDWR } as const;

/** Ends one or both directions of a connection, for all duplicates. shutdown(2). */
export function shutdown(fd: FdLike, how: "read" | "write" | "both"): void {
  checked(
    libc<(fd: number, how: number) => number>("int shutdown(int, int)")(rawFd(fd), HOW[how]),
    "shutdown",
    fdName(fd),
  );
}

/** An integer option of a socket, as in `(SOL_SOCKET, SO_SNDBUF)`. getsockopt(2). */
export function getSocketOption(fd: FdLike, level: number, option: number): number {
  const value = new Int32Array(1);
  getOption(fd, level, option, new Uint8Array(value.buffer));
  return value[0] as number;
}

function getOption(fd: FdLike, level: number, option: number, into: Uint8Array): void {
  const length = Uint32Array.of(into.byteLength);
  const call = libc<(fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array) => number>(
    "int getsockopt(int, int, int, void *, void *)",
  );
  checked(call(rawFd(fd), aU32(level, "level"), aU32(option, "option"), into, length), "getsockopt", fdName(fd));
}

/** Sets an integer option of a socket. setsockopt(2). */
export function setSocketOption(fd: FdLike, level: number, option: number, value: number): void {
  const call = libc<(fd: number, level: number, option: number, value: Int32Array, length: number) => number>(
    "int setsockopt(int, int, int, void *, unsigned int)",
  );
  const bytes = Int32Array.of(anInt(value, "value", -0x80000000, 0x7fffffff));
  checked(call(rawFd(fd), aU32(level, "level"), aU32(option, "option"), bytes, 4), "setsockopt", fdName(fd));
}

/** Takes the pending error number of a socket, 0 if none: how a non-blocking connect went. socket(7) SO_ERROR. */
export function socketError(fd: FdLike): number {
  return getSocketOption(fd, SOL_SOCKET, SO_ERROR);
}

/** Who connected a unix socket, at the time it was connected. unix(7) SO_PEERCRED. */
export function peerCredentials(fd: FdLike): { readonly pid: number; readonly uid: number; readonly gid: number } {
  const bytes = new Uint8Array(ucred.size);
  getOption(fd, SOL_SOCKET, SO_PEERCRED, bytes);
  const data = new DataView(bytes.buffer);
  return {
    pid: data.getInt32(ucred.pid, true),
    uid: data.getUint32(ucred.uid, true),
    gid: data.getUint32(ucred.gid, true),
  };
}

/** The address that a socket is bound to; null for an unnamed one. getsockname(2). */
export function localAddress(fd: FdLike): SocketAddress | null {
  const bytes = new Uint8Array(128);
  const length = Uint32Array.of(bytes.byteLength);
  const call = libc<(fd: number, address: Uint8Array, length: Uint32Array) => number>(
    "int getsockname(int, void *, void *)",
  );
  checked(call(rawFd(fd), bytes, length), "getsockname", fdName(fd));
  return decodeAddress(bytes.subarray(0, length[0]));
}

type Exchange = (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
let callSend: Exchange | undefined;
let callRecv: Exchange | undefined;

/** send(2) for hot loops, never raising SIGPIPE: the bytes sent, or the negative error number. Nothing is checked. */
export function trySend(rawFd: number, bytes: Uint8Array, flags = 0): number {
  callSend ??= libc<Exchange>("int64_t send(int, void *, size_t, int)");
  const result = callSend(rawFd, bytes, bytes.byteLength, flags | MSG_NOSIGNAL);
  return result < 0 ? -lastErrno() : result;
}

/** recv(2) for hot loops: the bytes (0 at the end), or the negative error number. Nothing is checked. */
export function tryRecv(rawFd: number, bytes: Uint8Array, flags = 0): number {
  callRecv ??= libc<Exchange>("int64_t recv(int, void *, size_t, int)");
  const result = callRecv(rawFd, bytes, bytes.byteLength, flags);
  return result < 0 ? -lastErrno() : result;
}

/** Sends bytes, never raising SIGPIPE; returns how many went. `flags` are `MSG_*`. send(2). */
export function send(fd: FdLike, bytes: Uint8Array, flags = 0): number {
  const result = trySend(rawFd(fd), aView(bytes, "bytes"), aU32(flags, "flags"));
  if (result < 0) throwErrno("send", -result, { what: fdName(fd) });
  return result;
}

/** Receives bytes; returns how many, 0 when the peer has ended. `flags` are `MSG_*`. recv(2). */
export function recv(fd: FdLike, bytes: Uint8Array, flags = 0): number {
  if (bytes.byteLength === 0) throw new BatonError("INVALID_ARGUMENT", "recv: bytes must not be empty");
  const result = tryRecv(rawFd(fd), aView(bytes, "bytes"), aU32(flags, "flags"));
  if (result < 0) throwErrno("recv", -result, { what: fdName(fd) });
  return result;
}
