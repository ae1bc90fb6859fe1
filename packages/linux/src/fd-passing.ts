import { EAGAIN, EINTR } from "./abi/errno.js";
import { POLLIN, POLLOUT } from "./abi/event.js";
import { iovec } from "./abi/file.js";
import { cmsghdr, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_NOSIGNAL, msghdr, SCM_RIGHTS, SOL_SOCKET } from "./abi/socket.js";
import { throwErrno } from "./errno.js";
import { BatonError } from "./errors.js";
import { Fd, type FdLike, fdName, rawFd } from "./fd.js";
import { addressOf, lastErrno, libc, withPinned } from "./native.js";
import { poll } from "./poll.js";
import { anInt, aView } from "./validate.js";

/** The most descriptors that one message carries (SCM_MAX_FD of Linux). */
export const MAX_FDS_PER_MESSAGE = 253;

const align8 = (n: number) => (n + 7) & ~7;
/** CMSG_LEN and CMSG_SPACE of cmsg(3). */
const controlLength = (fds: number) => align8(cmsghdr.size) + 4 * fds;
const controlSpace = (fds: number) => align8(cmsghdr.size) + align8(4 * fds);

type Message = (fd: number, message: Uint8Array, flags: number) => number;

interface Prepared {
  readonly header: Uint8Array;
  readonly iov: BigUint64Array;
  readonly bytes: Uint8Array;
  readonly control: Uint8Array;
}

function prepare(bytes: Uint8Array, control: Uint8Array): Prepared {
  const iov = BigUint64Array.of(addressOf(bytes), BigInt(bytes.byteLength));
  const header = new Uint8Array(msghdr.size);
  const data = new DataView(header.buffer);
  data.setBigUint64(msghdr.msg_iov, addressOf(iov), true);
  data.setBigUint64(msghdr.msg_iovlen, BigInt((iov.byteLength / iovec.size) | 0), true);
  if (control.byteLength > 0) {
    data.setBigUint64(msghdr.msg_control, addressOf(control), true);
    data.setBigUint64(msghdr.msg_controllen, BigInt(control.byteLength), true);
  }
  return { header, iov, bytes, control };
}

function rightsMessage(fds: readonly FdLike[]): Uint8Array {
  if (fds.length === 0) return new Uint8Array(0);
  const control = new Uint8Array(controlSpace(fds.length));
  const data = new DataView(control.buffer);
  data.setBigUint64(cmsghdr.cmsg_len, BigInt(controlLength(fds.length)), true);
  data.setInt32(cmsghdr.cmsg_level, SOL_SOCKET, true);
  data.setInt32(cmsghdr.cmsg_type, SCM_RIGHTS, true);
  for (const [i, fd] of fds.entries()) data.setInt32(align8(cmsghdr.size) + 4 * i, rawFd(fd), true);
  return control;
}

/** How long {@link sendFds} and {@link recvFds} wait for a non-blocking socket, in milliseconds; -1 (for ever) unless given. */
export interface FdPassingOptions {
  readonly timeoutMs?: number;
}

function waitFor(sock: FdLike, events: number, what: string, options: FdPassingOptions): void {
  const deadline = options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + options.timeoutMs;
  for (;;) {
    const left = deadline === Number.POSITIVE_INFINITY ? -1 : Math.max(0, deadline - Date.now());
    if (poll([{ fd: sock, events }], left)[0] !== 0) return;
    if (left === 0)
      throw new BatonError("TIMEOUT", `${what} ${fdName(sock)}: not ready within ${options.timeoutMs} ms`);
  }
}

function sendOnce(sock: FdLike, message: Prepared, options: FdPassingOptions): number {
  const call = libc<Message>("int64_t sendmsg(int, void *, int)");
  for (;;) {
    const sent = withPinned(message, () => call(rawFd(sock), message.header, MSG_NOSIGNAL));
    if (sent >= 0) return sent;
    const errno = lastErrno();
    if (errno === EAGAIN) waitFor(sock, POLLOUT, "sendmsg", options);
    else if (errno !== EINTR) throwErrno("sendmsg", errno, { what: fdName(sock) });
  }
}

/**
 * Sends all of `bytes` with descriptors, in messages of at most {@link MAX_FDS_PER_MESSAGE} descriptors: each but the
 * last carries one byte, so `bytes` needs as many bytes as there are messages. The receiver gets duplicates; ours
 * stay open. Throws `SYSCALL_FAILED` (`EPIPE`: the peer is gone), `TIMEOUT`. unix(7) SCM_RIGHTS.
 */
export function sendFds(sock: FdLike, bytes: Uint8Array, fds: readonly FdLike[], options: FdPassingOptions = {}): void {
  aView(bytes, "bytes");
  const messages = Math.max(1, Math.ceil(fds.length / MAX_FDS_PER_MESSAGE));
  if (bytes.byteLength < messages) {
    throw new BatonError(
      "INVALID_ARGUMENT",
      `${fds.length} descriptors need at least ${messages} bytes beside them, not ${bytes.byteLength}`,
    );
  }
  for (const fd of fds) rawFd(fd);
  for (let i = 0; i < messages; i++) {
    const batch = fds.slice(i * MAX_FDS_PER_MESSAGE, (i + 1) * MAX_FDS_PER_MESSAGE);
    let rest = i < messages - 1 ? bytes.subarray(i, i + 1) : bytes.subarray(i);
    let control = rightsMessage(batch);
    while (rest.byteLength > 0) {
      rest = rest.subarray(sendOnce(sock, prepare(rest, control), options));
      control = new Uint8Array(0);
    }
  }
}

/** What one message brought. */
export interface ReceivedFds {
  /** Empty when the peer has ended. */
  readonly bytes: Uint8Array;
  /** Owned by the receiver, close-on-exec. */
  readonly fds: readonly Fd[];
  /** Whether descriptors were lost: more than `maxFds` came, or this process has too many open. */
  readonly truncated: boolean;
}

function takeRights(control: Uint8Array, length: number, name: string): Fd[] {
  const data = new DataView(control.buffer);
  const fds: Fd[] = [];
  for (let at = 0; at + cmsghdr.size <= length; ) {
    const size = Number(data.getBigUint64(at + cmsghdr.cmsg_len, true));
    if (size < cmsghdr.size || at + size > length) break;
    const isRights =
      data.getInt32(at + cmsghdr.cmsg_level, true) === SOL_SOCKET &&
      data.getInt32(at + cmsghdr.cmsg_type, true) === SCM_RIGHTS;
    for (let p = at + align8(cmsghdr.size); isRights && p + 4 <= at + size; p += 4) {
      fds.push(Fd.adopt(data.getInt32(p, true), `received from ${name}`));
    }
    at += align8(size);
  }
  return fds;
}

/**
 * Receives one message: up to `maxBytes` bytes, and up to `maxFds` (at most {@link MAX_FDS_PER_MESSAGE}) descriptors.
 * Bytes of messages with different descriptors are never merged. Throws `SYSCALL_FAILED`, `TIMEOUT`. recvmsg(2).
 */
export function recvFds(sock: FdLike, maxBytes: number, maxFds: number, options: FdPassingOptions = {}): ReceivedFds {
  const bytes = new Uint8Array(anInt(maxBytes, "maxBytes", 1, 2 ** 30));
  anInt(maxFds, "maxFds", 0, MAX_FDS_PER_MESSAGE);
  // Exactly CMSG_LEN, not CMSG_SPACE: its padding would let one descriptor more in.
  const control = new Uint8Array(maxFds === 0 ? 0 : controlLength(maxFds));
  const call = libc<Message>("int64_t recvmsg(int, void *, int)");
  const message = prepare(bytes, control);
  if (options.timeoutMs !== undefined) waitFor(sock, POLLIN, "recvmsg", options);
  for (;;) {
    const got = withPinned(message, () => call(rawFd(sock), message.header, MSG_CMSG_CLOEXEC));
    if (got >= 0) {
      const data = new DataView(message.header.buffer);
      const length = Number(data.getBigUint64(msghdr.msg_controllen, true));
      return {
        bytes: bytes.subarray(0, got),
        fds: takeRights(control, length, fdName(sock)),
        truncated: (data.getInt32(msghdr.msg_flags, true) & MSG_CTRUNC) !== 0,
      };
    }
    const errno = lastErrno();
    if (errno === EAGAIN) waitFor(sock, POLLIN, "recvmsg", options);
    else if (errno !== EINTR) throwErrno("recvmsg", errno, { what: fdName(sock) });
  }
}
